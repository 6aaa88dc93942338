"""The loop around a learner, on the real rink: whom it meets, what it keeps, how it goes on. The learner is a small one
of NumPy, so that none of this needs sbx-rl; tests/competitor/sparring/test_sbx.py has the real algorithms.
"""

import json
import re
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from competitor.errors import PlayerError, ResumeError
from competitor.players.sparring import SparringPlayer, read_partner
from competitor.rink.constants import MOST_STEPS
from competitor.sparring.actor import Actor, Exploring
from competitor.sparring.recipes import load_recipe
from competitor.sparring.run import Run
from competitor.sparring.trainer import Marks, Trainer

Array = np.ndarray
TINY = ["updates=80", "rinks=4", "opponents.pool=0.4", "opponents.self=0.4", "opponents.strong=0"]


class CountingLearner:
    """Makes an update of nothing every 20 frames; what it was given is kept. Its policy is a fixed small network."""

    def __init__(self, seed: int = 0) -> None:
        self.updates, self.frames = 0, 0
        self.views: list[tuple[Array, Array, Array, bool, bool]] = []
        chance = np.random.default_rng(seed)
        self.layers = [
            (chance.normal(0, 0.5, shape).astype(np.float32), np.zeros(shape[0], np.float32))
            for shape in [(8, 18), (4, 8)]
        ]

    def enter(self, obs: Array, action: Array, reward: Array, *, terminal: bool, own: bool) -> None:
        self.views.append((obs, action, reward, terminal, own))

    def learn(self, frames: int) -> bool:
        self.frames += frames
        made = self.frames // 20 > self.updates
        self.updates = self.frames // 20
        return made

    def actor(self) -> Actor:
        hidden, mean = self.layers
        log_std = np.zeros((4, 8), np.float32), np.full(4, -1.0, np.float32)
        return Actor([hidden], mean, log_std, tanh_layers=True, squash=True, noise_after_squash=False)

    def numbers(self) -> dict[str, float]:
        return {"loss": 1.0}

    def save(self, directory: Path) -> None:
        np.savez(directory / "learner.npz", frames=self.frames, **{str(k): v for k, v in enumerate(self.layers[0])})

    def load(self, directory: Path, *, weights_only: bool = False) -> None:
        with (directory / "learner.npz").open("rb") as file, np.load(file) as saved:
            self.layers[0] = (saved["0"], saved["1"])
            if not weights_only:
                self.frames = int(saved["frames"])
                self.updates = self.frames // 20


def make(run: Run, learner: CountingLearner, said: list[str] | None = None, **more: object) -> Trainer:
    ticks = count()
    return Trainer(
        run, learner, clock=lambda: float(next(ticks)), say=(said if said is not None else []).append,
        examine_rounds=4, **more,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "tiny", load_recipe("striker", changes=TINY))


def test_it_trains_to_the_end_and_tells_what_it_did(run: Run) -> None:
    learner, said = CountingLearner(), list[str]()
    make(run, learner, said, examine_every=40).train()
    assert learner.updates == 80
    lines = [json.loads(line) for line in (run.path / "progress.jsonl").read_text().splitlines()]
    assert lines[-1]["updates"] == 80 and lines[-1]["loss"] == 1.0 and lines[-1]["frames"] == learner.frames
    exams = [json.loads(line) for line in (run.path / "examinations.jsonl").read_text().splitlines()]
    assert [exam["updates"] for exam in exams] == [40, 80]
    assert set(exams[0]["won"]) == {"weak", "strong"}
    assert any("80 updates" in line for line in said)


def test_views_come_with_the_recipes_rewards_and_say_whose_they_are(run: Run) -> None:
    learner = CountingLearner()
    trainer = make(run, learner)
    first = len(learner.views)
    assert first == 2 * 200 and not any(view[4] for view in learner.views)  # the named opponent's rounds
    trainer.train()
    assert any(view[4] for view in learner.views[first:])
    for obs, action, reward, terminal, _ in learner.views:
        assert len(obs) == len(action) + 1 == len(reward) + 1
        assert terminal, "a goal and the clock's draw are results: nothing follows"
    lengths = {len(view[1]) for view in learner.views if abs(view[2][-1]) < 5.0}
    assert lengths == {MOST_STEPS}  # draws were among them, and only the clock makes one


def test_the_best_policy_is_kept_with_its_card(run: Run) -> None:
    learner = CountingLearner()
    make(run, learner, examine_every=40).train()
    policy, card = read_partner(run.path / "best.safetensors")
    assert (
        card.name == "tiny" and card.made["updates"] in (40, 80) and set(card.made["examination"]) == {"weak", "strong"}
    )
    obs = np.random.default_rng(0).normal(0, 2, 18).astype(np.float32)
    without_noise = learner.actor().sample(obs[None], np.zeros((1, 4), np.float32))[0]
    np.testing.assert_allclose(policy.act(obs), without_noise, atol=1e-5)


def test_who_passes_the_examination_enters_the_pool_and_is_met(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("competitor.sparring.trainer.BASE_RATE", 0.0)
    monkeypatch.setattr("competitor.sparring.trainer.NEWEST_POINTS", 0.0)
    trainer = make(run, CountingLearner(), examine_every=20)
    trainer.train()
    assert trainer.opponents.pool == ["tiny-20", "tiny-40", "tiny-60", "tiny-80"]
    exams = [json.loads(line) for line in (run.path / "examinations.jsonl").read_text().splitlines()]
    assert [set(exam["won"]) - {"weak", "strong"} for exam in exams] == [set(), {"tiny-20"}, {"tiny-40"}, {"tiny-60"}]
    again = make(run, CountingLearner())
    assert again.opponents.pool == trainer.opponents.pool
    assert again.opponents.scores() == trainer.opponents.scores()


def test_a_stopped_run_goes_on_where_it_was(run: Run) -> None:
    first = make(run, CountingLearner(seed=1))
    first.train(minutes=0.5)  # the clock moves a second per step
    assert 0 < first.learner.updates < 80
    learner, said = CountingLearner(seed=2), list[str]()
    second = make(run, learner, said)
    assert said == [f"goes on at {first.learner.updates:,} updates"]
    assert (second.frames, second.rounds, second.seconds) == (first.frames, first.rounds, first.seconds)
    assert np.array_equal(learner.layers[0][0], CountingLearner(seed=1).layers[0][0])
    assert learner.views == []  # the replay was read, not filled anew
    second.train()
    assert learner.updates == 80


def test_stop_ends_after_the_step_in_progress_and_saves(run: Run) -> None:
    learner = CountingLearner()
    trainer = make(run, learner)
    trainer.stop()
    trainer.train()
    assert learner.updates == 0 and run.saves.current() is not None


def test_a_run_may_begin_with_anothers_weights(run: Run, tmp_path: Path) -> None:
    make(run, CountingLearner(seed=1)).train()
    other = Run.create(tmp_path / "other", run.recipe.model_copy(update={"begins_from": "tiny"}))
    learner = CountingLearner(seed=2)
    make(other, learner)
    assert np.array_equal(learner.layers[0][0], CountingLearner(seed=1).layers[0][0])
    assert learner.updates == 0


def test_a_damaged_save_is_named(run: Run) -> None:
    make(run, CountingLearner()).train()
    save = run.saves.current()
    assert save is not None
    whole = (save / "learner.npz").read_bytes()
    book = (save / "book.json").read_bytes()
    spoilt = [book.replace(*change) for change in ((b'"frames": ', b'"frames": -'), (b'"PCG64"', b'"MT19937"'))]
    spoilt.append(re.sub(rb'"mean": [0-9.e-]+', b'"mean": "0.5"', book))
    assert book not in spoilt
    for name, damaged in (("learner.npz", whole[:100]), ("learner.npz", b""), *(("book.json", one) for one in spoilt)):
        before = (save / name).read_bytes()
        (save / name).write_bytes(damaged)
        with pytest.raises(ResumeError, match="is damaged"):
            make(run, CountingLearner())
        (save / name).write_bytes(before)


def test_an_opponent_that_does_not_exist_is_named(tmp_path: Path) -> None:
    recipe = load_recipe("striker", changes=["opponents.nobody=0.5"])
    with pytest.raises(PlayerError, match="nobody"):
        make(Run.create(tmp_path / "lost", recipe), CountingLearner())


def test_the_examination_asks_less_of_the_newest_than_of_the_base() -> None:
    def marks(weak: float, newest: float) -> Marks:
        return Marks(won={"weak": weak, "newest": 0.3}, points={"weak": 0.9, "newest": newest})

    assert marks(0.8, 0.55).passed("newest")
    assert not marks(0.79, 0.55).passed("newest")
    assert not marks(0.8, 0.54).passed("newest")
    assert not marks(0.8, 0.55).passed(None)  # then "newest" is a base opponent like any other
    assert Marks(won={"weak": 0.8}, points={"weak": 0.8}).passed(None)
    assert marks(0.8, 0.5).mean_points(["weak", "newest"]) == pytest.approx(0.7)


def test_exploration_is_the_noise_around_the_policy() -> None:
    actor = CountingLearner().actor()
    obs = np.random.default_rng(0).normal(0, 2, (500, 18)).astype(np.float32)
    obs[:] = obs[0]
    player = SparringPlayer(Exploring(lambda: actor, np.random.default_rng(1)), "learner", repeat=2)
    player.reset(500)
    first = player.act(obs, np.ones(500, bool))
    quiet = np.arctanh(actor.sample(obs[:1], np.zeros((1, 4), np.float32)))
    spread = (np.arctanh(first.astype(np.float64)) - quiet).std(axis=0)
    np.testing.assert_allclose(spread, np.exp(-1.0), rtol=0.1)
    assert np.array_equal(player.act(obs, np.zeros(500, bool)), first)  # kept for two frames
    assert not np.array_equal(player.act(obs, np.zeros(500, bool)), first)

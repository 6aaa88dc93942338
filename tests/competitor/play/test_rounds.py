"""The round runner on the real rink: what is recorded, who plays when, the same on any number of rinks."""

from collections.abc import Iterator

import numpy as np
import pytest

from competitor.config import Config
from competitor.play.rounds import RewardWeights, Round, RoundRunner, RoundSetup, play_rounds
from competitor.players import BasicPlayer, DreamerPlayer, RandomPlayer
from competitor.rink import HockeyEnv, Mode
from competitor.rink.constants import MOST_STEPS
from dreamer.agent import Dreamer


class Still:
    """Stands still and writes down what it was asked."""

    def __init__(self, name: str = "still") -> None:
        self.name = name
        self.resets: list[int] = []
        self.playing: list[list[int]] = []
        self.first: list[list[int]] = []

    def reset(self, slots: int) -> None:
        self.resets.append(slots)

    def act(self, obs: np.ndarray, is_first: np.ndarray) -> np.ndarray:
        self.playing.append(np.flatnonzero(np.isfinite(obs).all(axis=1)).tolist())
        self.first.append(np.flatnonzero(is_first).tolist())
        return np.zeros((len(obs), 4), dtype=np.float32)


def setups(count: int, opponent: str = "", modes: tuple[Mode, ...] = (Mode.NORMAL,)) -> list[RoundSetup]:
    return [
        RoundSetup(k % 2 == 0, seed=100 + k // 2, mode=modes[k % len(modes)], side=k % 2, opponent=opponent)
        for k in range(count)
    ]


def same(one: Round, other: Round) -> bool:
    return one.setup == other.setup and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("obs", "actions", "info")
    )


@pytest.fixture(scope="module")
def bot_rounds() -> list[Round]:
    return play_rounds(BasicPlayer(weak=True), BasicPlayer(weak=False), setups(24), rinks=7)


def test_rounds_are_those_of_the_single_rink(bot_rounds: list[Round]) -> None:
    for played in bot_rounds[:6]:
        rink = HockeyEnv()
        obs, _ = rink.reset(one_starting=played.setup.one_starting, seed=played.setup.seed)
        for step in range(played.steps):
            assert np.array_equal(np.float32(obs), played.obs[0, step])
            assert np.array_equal(np.float32(rink.obs_agent_two()), played.obs[1, step])
            obs, _, done, _, info = rink.step(np.concatenate(tuple(played.actions[:, step])))
            assert info["winner"] == played.info[0, step, 3]
            assert info["reward_touch_puck"] == played.info[0, step, 1]
        assert done and np.array_equal(np.float32(obs), played.obs[0, -1])
        assert info["winner"] == played.winner


def test_shapes_results_and_order(bot_rounds: list[Round]) -> None:
    assert [(r.setup.seed, r.setup.side) for r in bot_rounds] == [(p.seed, p.side) for p in setups(24)]
    for played in bot_rounds:
        steps = played.steps
        assert played.obs.shape == (2, steps + 1, 18) and played.obs.dtype == np.float32
        assert played.actions.shape == (2, steps, 4) and played.info.shape == (2, steps, 4)
        assert played.result == (played.winner if played.setup.side == 0 else -played.winner)
        assert (steps == MOST_STEPS) or played.winner != 0
    assert {played.winner for played in bot_rounds} == {-1, 0, 1}


def test_number_of_rinks_does_not_change_a_round(bot_rounds: list[Round]) -> None:
    weak, strong = BasicPlayer(weak=True, seed=8), BasicPlayer(weak=False, seed=9)
    alone = play_rounds(weak, strong, setups(24), rinks=1)
    assert all(same(one, other) for one, other in zip(bot_rounds, alone, strict=True))


def test_sides_decide_which_actions_are_whose() -> None:
    rounds = play_rounds(Still(), RandomPlayer(0), setups(4), rinks=2)
    for played in rounds:
        side = played.setup.side
        assert not played.actions[side].any() and played.actions[1 - side].any()


def test_training_modes_end_after_81_steps() -> None:
    modes = (Mode.TRAIN_SHOOTING, Mode.TRAIN_DEFENSE)
    for played in play_rounds(Still(), Still(), setups(4, modes=modes), rinks=2):
        assert played.steps <= 81 and (played.winner != 0 or played.steps == 81)
        assert played.episode(0, RewardWeights()).terminal == (played.winner != 0)  # an exercise, cut off


def test_without_keep_mode_there_are_16_numbers_and_3_actions() -> None:
    weak, strong = BasicPlayer(weak=True, keep_mode=False), BasicPlayer(weak=False, keep_mode=False)
    played = play_rounds(weak, strong, setups(1), rinks=1, keep_mode=False)[0]
    assert played.obs.shape[2] == 16 and played.actions.shape[2] == 3 and np.abs(played.actions).max() > 0


def test_every_player_is_asked_once_a_step_for_its_running_slots() -> None:
    player, left, right = Still("a"), Still("left"), Still("right")
    schedule = [RoundSetup(True, k, opponent="left" if k < 2 else "right") for k in range(3)]
    runner = RoundRunner(4, player, {"left": left, "right": right}, iter(schedule))
    assert runner.active == 3
    runner.step()
    assert (player.playing, left.playing, right.playing) == ([[0, 1, 2]], [[0, 1]], [[2]])
    assert (player.first, right.first) == ([[0, 1, 2]], [[2]])
    runner.step()
    assert player.first[1] == [] and player.resets == left.resets == right.resets == [4]


def test_table_runs_dry_and_then_does_nothing() -> None:
    runner = RoundRunner(2, Still(), {"": Still()}, iter(setups(3)))
    finished: list[Round] = []
    while runner.active:
        finished += runner.step()
    assert len(finished) == 3 and runner.step() == [] and len(finished) == 3


def test_opponents_may_come_and_go() -> None:
    """A league swaps its past selves: a running round keeps its player, a new round gets the new one."""
    opponents = {"past": Still("old")}
    old, new = opponents["past"], Still("new")
    runner = RoundRunner(1, BasicPlayer(weak=False), opponents, iter(setups(2, opponent="past")))
    runner.step()
    opponents["past"] = new
    runner.step()
    assert len(old.playing) == 2 and not new.playing
    while not runner.step():
        pass
    asked = len(old.playing)
    runner.step()
    assert len(old.playing) == asked and len(new.playing) == 1 and new.resets == [1]


def test_schedule_is_asked_the_moment_a_rink_is_free() -> None:
    drawn: list[int] = []

    def schedule() -> Iterator[RoundSetup]:
        for k in range(100):
            drawn.append(k)
            yield RoundSetup(True, k, Mode.TRAIN_SHOOTING)

    runner = RoundRunner(2, Still(), {"": Still()}, schedule())
    assert drawn == [0, 1]
    while not (finished := runner.step()):
        pass
    assert len(drawn) == 2 + len(finished)


def test_player_cannot_be_its_own_opponent() -> None:
    player = Still()
    with pytest.raises(ValueError, match="second object"):
        RoundRunner(1, player, {"": player}, iter(setups(1)))


def test_one_agent_can_sit_on_both_sides(debug_config: Config) -> None:
    agent = Dreamer(debug_config.dreamer)
    one, other = DreamerPlayer(agent, "one"), DreamerPlayer(agent, "other")
    rounds = play_rounds(one, other, setups(2, modes=(Mode.TRAIN_SHOOTING,)), rinks=2)
    assert [played.setup.opponent for played in rounds] == ["other", "other"]


def test_running_rounds_go_on_in_a_new_table() -> None:
    def runner(schedule: Iterator[RoundSetup], **more: object) -> RoundRunner:
        opponents = {"strong": BasicPlayer(weak=False)}
        return RoundRunner(3, BasicPlayer(weak=True), opponents, schedule, **more)  # type: ignore[arg-type]

    whole, first = iter(setups(6, "strong")), iter(setups(6, "strong"))
    unbroken, broken = runner(whole), runner(first)
    for _ in range(120):
        expected, got = unbroken.step(), broken.step()
        assert len(expected) == len(got)
    resumed = runner(first, running=broken.running_rounds())
    while unbroken.active:
        expected, got = unbroken.step(), resumed.step()
        assert len(expected) == len(got) and all(same(a, b) for a, b in zip(expected, got, strict=True))
    assert not resumed.active


def test_episode_is_one_view_with_weighted_rewards(bot_rounds: list[Round]) -> None:
    weights = RewardWeights(goal=10.0, closeness=0.5, touch=2.0, direction=3.0)
    for played in bot_rounds:
        for view in (0, 1):
            episode = played.episode(view, weights)
            info = played.info[view]
            expected = 0.5 * info[:, 0] + 2.0 * info[:, 1] + 3.0 * info[:, 2]
            expected[-1] += 10.0 * (played.winner if view == 0 else -played.winner)
            assert np.allclose(episode.reward, expected, atol=1e-6)
            assert episode.terminal and not episode.own
            assert np.array_equal(episode.obs, played.obs[view])
            assert np.array_equal(episode.action, played.actions[view])

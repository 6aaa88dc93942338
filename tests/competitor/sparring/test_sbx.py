"""The real algorithms. JAX is no part of the development environment: without sbx-rl these tests are skipped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sbx", reason="sbx-rl is not installed: pip install 'hockey-dreamer[sparring]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

import cli  # noqa: E402
from competitor.errors import BusyError  # noqa: E402
from competitor.sparring.actor import normalized  # noqa: E402
from competitor.sparring.recipes import Recipe, load_recipe  # noqa: E402
from competitor.sparring.run import Run  # noqa: E402

ROOT = Path(__file__).parents[3]
RECIPES = {"SAC": "striker", "TQC": "holder", "TD3": "hasty", "CrossQ": "calm", "PPO": "rollout"}


def learner_of(recipe: Recipe) -> Any:
    if recipe.algorithm == "PPO":
        from competitor.sparring.sbx_rollouts import RolloutLearner

        return RolloutLearner(recipe)
    from competitor.sparring.sbx_replay import ReplayLearner

    return ReplayLearner(recipe, np.random.default_rng(1))


def feed(learner: Any, frames: int) -> None:
    """Enter own rounds of 40 frames until the learner has seen so many, each ended by a goal."""
    chance = np.random.default_rng(0)
    for _ in range(0, frames, 40):
        obs = chance.normal(0, 2, (41, 18)).astype(np.float32)
        action = chance.uniform(-1, 1, (40, 4)).astype(np.float32)
        reward = np.append(np.zeros(39), 10.0 * np.sign(obs[0, 0])).astype(np.float32)
        learner.enter(obs, action, reward, terminal=True, own=True)


@pytest.mark.parametrize("algorithm", RECIPES)
def test_the_numpy_policy_is_that_of_the_algorithm(algorithm: str, tmp_path: Path) -> None:
    recipe = load_recipe(RECIPES[algorithm])
    learner = learner_of(recipe)
    before = learner.actor()
    feed(learner, 33_000)
    assert learner.learn(10_000)
    assert learner.updates > 0
    obs = np.random.default_rng(5).normal(0, 2, (50, 18)).astype(np.float32)
    quiet = np.zeros((50, 4), np.float32)
    actor = learner.actor()
    assert not np.array_equal(actor.sample(obs, quiet), before.sample(obs, quiet))
    theirs = np.clip(learner.model.policy.forward(normalized(obs), deterministic=True), -1, 1)
    np.testing.assert_allclose(actor.sample(obs, quiet), theirs, atol=2e-5)
    exported = np.stack([actor.policy().act(row) for row in obs])
    np.testing.assert_allclose(np.clip(exported, -1, 1), theirs, atol=1e-4)
    learner.save(tmp_path)
    other = learner_of(recipe.model_copy(update={"seed": 77}))
    other.load(tmp_path)
    assert other.updates == learner.updates
    assert np.array_equal(other.actor().sample(obs, quiet), actor.sample(obs, quiet))


def test_a_saved_learner_learns_on_as_the_one_before(tmp_path: Path) -> None:
    recipe = load_recipe("striker")
    learner = learner_of(recipe)
    feed(learner, 24_000)
    learner.learn(256)
    learner.save(tmp_path)
    other = learner_of(recipe)
    other.load(tmp_path)
    obs, quiet = np.random.default_rng(5).normal(0, 2, (50, 18)).astype(np.float32), np.zeros((50, 4), np.float32)
    for each in (learner, other):
        each._chance = np.random.default_rng(3)
        each.learn(256)
    np.testing.assert_allclose(other.actor().sample(obs, quiet), learner.actor().sample(obs, quiet), atol=1e-6)


def test_ppo_learns_from_actions_as_they_were_before_the_bounds_cut_them() -> None:
    learner = learner_of(load_recipe("rollout"))
    obs = np.random.default_rng(1).normal(size=(20_000, 18)).astype(np.float32)
    state = learner.model.policy.actor_state
    chances = state.apply_fn(state.params, obs)
    mean, spread = np.asarray(chances.mean()), np.asarray(chances.stddev())
    drawn = mean + spread * np.random.default_rng(2).standard_normal(mean.shape).astype(np.float32)
    again = learner._as_drawn(obs, np.clip(drawn, -1, 1))
    cut = np.abs(drawn) > 1
    assert 0.1 < cut.mean() < 0.9
    assert np.array_equal(again[~cut], drawn[~cut]) and np.array_equal(np.clip(again, -1, 1), np.clip(drawn, -1, 1))
    np.testing.assert_allclose(((again - mean) / spread).mean(axis=0), 0.0, atol=0.03)
    np.testing.assert_allclose(((again - mean) / spread).std(axis=0), 1.0, atol=0.03)


def test_ppo_begins_with_what_others_did_and_takes_no_lessons_later() -> None:
    learner = learner_of(load_recipe("rollout"))
    chance = np.random.default_rng(4)
    obs = chance.normal(0, 2, (5_001, 18)).astype(np.float32)
    shown = np.sign(obs[:-1, :4]) * 0.8
    learner.enter(obs, shown, np.zeros(5_000, np.float32), terminal=True, own=False)
    quiet = np.zeros((5_000, 4), np.float32)
    taught = learner.actor().sample(obs[:-1], quiet)
    assert np.abs(taught - shown).mean() < 0.2
    learner.enter(obs, -shown, np.zeros(5_000, np.float32), terminal=True, own=False)
    assert np.array_equal(learner.actor().sample(obs[:-1], quiet), taught)


def command(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), "sparring", "train", *arguments],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


TINY = ["striker", "--run", "tiny", "--set", "rinks=4", "--set", "updates=64", "--set", "frames_per_update=2"]


def test_a_run_stopped_by_a_signal_saves_and_goes_on_to_its_end(tmp_path: Path) -> None:
    with command("striker", "--run", "tiny", "--set", "rinks=4", cwd=tmp_path) as process:
        assert process.stdout is not None
        while "training" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=200)
    assert process.returncode == 130, said
    assert "continue with: cli.py sparring train --resume runs/sparring/tiny" in said
    assert Run.open(tmp_path / "runs" / "sparring" / "tiny").saves.current() is not None


def test_a_killed_run_goes_on_from_its_last_save(tmp_path: Path) -> None:
    with command(*TINY, cwd=tmp_path) as process:
        said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    path = tmp_path / "runs" / "sparring" / "tiny"
    recipe = (path / "recipe.toml").read_text()
    (path / "recipe.toml").write_text(recipe.replace("updates = 64", "updates = 100000"))
    with command("--resume", str(path), cwd=tmp_path) as process:
        assert process.stdout is not None
        while "training" not in process.stdout.readline():
            assert process.poll() is None
        with command("--resume", str(path), cwd=tmp_path) as second:
            said, _ = second.communicate(timeout=200)
        assert second.returncode == BusyError.exit_code and "in use by another process" in said, said
        process.kill()
    (path / "recipe.toml").write_text(recipe.replace("updates = 64", "updates = 96"))
    with command("--resume", str(path), cwd=tmp_path) as process:
        said, _ = process.communicate(timeout=200)
    assert process.returncode == 0 and "goes on at 64 updates" in said, said
    progress = [json.loads(line) for line in (path / "progress.jsonl").read_text().splitlines()]
    assert progress[-1]["updates"] == 96


def test_what_a_fresh_exploiter_takes_is_written_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["league", "exploit", "weak", "--card"]) == 3
    assert cli.run(["league", "exploit", "weak", "--minutes", "0.01", "--rounds", "4", "--json", "found.json"]) == 0
    found = json.loads(Path("found.json").read_text())
    assert found["rounds"] == found["wins"] + found["draws"] + found["losses"] == 4
    assert found["points"] == (found["wins"] + found["draws"] / 2) / 4 and found["minutes"] >= 0.01
    run = Run.open(Path(found["exploiter"].removeprefix("sparring:")).parent)
    assert run.recipe.shares == {"weak": 1.0} and run.recipe.algorithm == "SAC" and not run.recipe.begins_from
    assert cli.run(["evaluate", "weak", "--against", found["exploiter"], "--rounds", "2"]) == 0

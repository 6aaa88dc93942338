"""Recordings of the reference environment, replayed: every float32 of every observation must be equal."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from competitor.rink import BasicOpponent, HockeyEnv, Mode, RinkBatch
from competitor.rink.observation import INFO_KEYS

with np.load(Path(__file__).parents[2] / "data" / "golden_public.npz") as file:
    RECORDING = dict(file)
EPISODES = range(len(RECORDING["kind"]))
MODES = {"shooting": Mode.TRAIN_SHOOTING, "defense": Mode.TRAIN_DEFENSE}


def part(episode: int, name: str) -> Any:
    return RECORDING[f"{episode}/{name}"]


def start_of(episode: int) -> dict[str, Any]:
    return {"one_starting": bool(RECORDING["one_starting"][episode]), "seed": int(RECORDING["seed"][episode])}


def kind_of(episode: int) -> tuple[bool, Mode]:
    """Keep mode and mode."""
    kind = str(RECORDING["kind"][episode])
    return kind != "nokeep", MODES.get(kind, Mode.NORMAL)


def values(info: dict[str, Any]) -> list[float]:
    return [info[key] for key in INFO_KEYS]


@pytest.mark.parametrize("episode", EPISODES)
def test_environment_repeats_the_recording(episode: int) -> None:
    keep_mode, mode = kind_of(episode)
    env = HockeyEnv(keep_mode=keep_mode, mode=mode)
    first, _ = env.reset(**start_of(episode))
    one, two, rewards, infos, done = [first], [env.obs_agent_two()], [], [], []
    for action in part(episode, "act"):
        obs, reward, ended, truncated, info = env.step(action)
        info_two = env.get_info_agent_two()
        one.append(obs)
        two.append(env.obs_agent_two())
        rewards.append((reward, env.get_reward_agent_two(info_two)))
        infos.append((values(info), values(info_two)))
        done.append(ended)
        assert not truncated
    np.testing.assert_array_equal(np.float32(one), part(episode, "obs1"))
    np.testing.assert_array_equal(np.float32(two), part(episode, "obs2"))
    assert np.abs(np.float32(one) - np.array(one)).max() == 0, "observations hold float32 values"
    for view in (0, 1):
        expected = part(episode, f"rew{view + 1}")
        np.testing.assert_allclose(np.array(rewards)[:, view], expected, rtol=0, atol=1e-9)
        expected = part(episode, f"info{view + 1}")
        np.testing.assert_allclose(np.array(infos)[:, view], expected, rtol=0, atol=1e-9)
    assert done == [False] * (len(done) - 1) + [True]


@pytest.mark.parametrize("keep_mode", [True, False])
def test_batch_repeats_the_recordings(keep_mode: bool) -> None:
    """All recordings at once, each on its own rink; those that end early wait."""
    episodes = [episode for episode in EPISODES if kind_of(episode)[0] == keep_mode]
    batch = RinkBatch(len(episodes), keep_mode=keep_mode)
    for index, episode in enumerate(episodes):
        batch.reset(index, mode=kind_of(episode)[1], **start_of(episode))
        np.testing.assert_array_equal(batch.obs[0, index], part(episode, "obs1")[0])
    actions = np.zeros((len(episodes), 8 if keep_mode else 6))
    for step in range(251):
        for index, episode in enumerate(episodes):
            recorded = part(episode, "act")
            actions[index] = recorded[min(step, len(recorded) - 1)]
        batch.step(actions)
        for index, episode in enumerate(episodes):
            last = min(step + 1, len(part(episode, "act")))
            np.testing.assert_array_equal(batch.obs[0, index], part(episode, "obs1")[last])
            np.testing.assert_array_equal(batch.obs[1, index], part(episode, "obs2")[last])
            for view in (0, 1):
                expected = part(episode, f"info{view + 1}")[last - 1]
                np.testing.assert_allclose(batch.info[view, index], expected, rtol=0, atol=1e-9)
    assert batch.done.all()


def test_basic_opponents_act_as_recorded() -> None:
    """Pushes and shots do not depend on the unknown phase; they must be equal to the last bit."""
    for episode in EPISODES:
        if RECORDING["kind"][episode] in ("mixed", "nokeep"):
            continue
        for view in (0, 1):
            recorded = part(episode, "act")[:, 4 * view : 4 * view + 4]
            played = [recorded_by(weak, part(episode, f"obs{view + 1}")) for weak in (True, False)]
            assert any((actions[:, [0, 1, 3]] == recorded[:, [0, 1, 3]]).all() for actions in played)


def recorded_by(weak: bool, observations: Any) -> Any:
    opponent = BasicOpponent(weak=weak, generator=np.random.default_rng(0))
    return np.array([opponent.act(obs.astype(np.float64)) for obs in observations[:-1]])

"""The environment's interface: modes, resets, states, rewards, actions."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import competitor
from competitor.rink import HockeyEnv, HockeyEnv_BasicOpponent, Mode


def actions(seed: int, count: int, size: int = 8) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, (count, size))


def play(env: HockeyEnv, moves: Any, **start: Any) -> Any:
    """All of player one's observations of a round."""
    seen = [env.reset(**start)[0]]
    for move in moves:
        obs, _, done, _, _ = env.step(move)
        seen.append(obs)
        if done:
            break
    return np.array(seen)


def test_returns_new_float64_arrays() -> None:
    env = HockeyEnv()
    obs, info = env.reset(seed=1)
    before, other = obs.copy(), env.obs_agent_two()
    after = env.step(np.ones(8))[0]
    assert obs.dtype == after.dtype == np.float64
    assert obs.shape == after.shape == env.observation_space.shape == (18,)
    assert_array_equal(obs, before)
    assert not np.shares_memory(after, other)
    assert isinstance(info["winner"], int)


def test_who_starts_alternates() -> None:
    """The constructor has let player one start already."""
    env = HockeyEnv()
    puck_x = [env.reset()[0][12] for _ in range(4)]
    assert np.sign(puck_x).tolist() == [1, -1, 1, -1]
    assert env.reset(one_starting=True)[0][12] < 0
    assert env.reset()[0][12] > 0


def test_training_modes_do_not_touch_the_alternation() -> None:
    env = HockeyEnv()
    env.reset(one_starting=False)
    env.reset(mode=Mode.TRAIN_SHOOTING)
    assert env.reset(mode=Mode.NORMAL)[0][12] < 0


@pytest.mark.parametrize("mode", [Mode.TRAIN_DEFENSE, "TRAIN_DEFENSE", 2])
def test_mode_as_member_name_or_number(mode: Any) -> None:
    env = HockeyEnv(mode=mode)
    assert env.mode is Mode.TRAIN_DEFENSE
    assert env.max_timesteps == 80
    switched = HockeyEnv()
    switched.reset(mode=mode, seed=3)
    assert switched.mode is Mode.TRAIN_DEFENSE
    assert_array_equal(switched.obs_agent_two(), env.reset(seed=3)[0] * 0 + env.obs_agent_two())


@pytest.mark.parametrize("mode", ["FAST", 7, None, "normal"])
def test_unknown_mode(mode: Any) -> None:
    with pytest.raises(ValueError, match="unknown mode"):
        HockeyEnv(mode=mode)


@pytest.mark.parametrize(("mode", "steps"), [(Mode.NORMAL, 251), (Mode.TRAIN_SHOOTING, 81)])
def test_a_round_without_goal_ends_by_time(mode: Mode, steps: int) -> None:
    env = HockeyEnv(mode=mode)
    env.reset(seed=0)
    done = [env.step(np.zeros(8))[2] for _ in range(steps)]
    assert done == [False] * (steps - 1) + [True]
    assert env.winner == 0
    assert env.time == steps


def test_counters_survive_a_reset() -> None:
    env = HockeyEnv()
    state = env.reset(seed=0)[0]
    state[16:] = 9, 4
    env.set_state(state)
    assert env.reset(seed=1)[0][16:].tolist() == [9, 4]


@pytest.mark.parametrize(("vx", "winner"), [(20.0, 1), (-20.0, -1)])
def test_goal(vx: float, winner: int, capsys: pytest.CaptureFixture[str]) -> None:
    env = HockeyEnv(verbose=True)
    state = env.reset(seed=0)[0]
    state[[1, 7]] = 2.5
    state[[12, 13, 14]] = 0.0, 0.0, vx
    env.set_state(state)
    done = False
    while not done:
        _, reward, done, _, info = env.step(np.zeros(8))
    two = env.get_info_agent_two()
    assert info["winner"] == env.winner == winner == -two["winner"]
    assert reward == pytest.approx(10 * winner + info["reward_closeness_to_puck"])
    assert env.get_reward_agent_two(two) == pytest.approx(-10 * winner + two["reward_closeness_to_puck"])
    assert "scored" in capsys.readouterr().out


def test_set_state_restores_a_round() -> None:
    """Set to an observation the rink shows that observation, and goes on from there."""
    env, other = HockeyEnv(), HockeyEnv()
    seen = play(env, actions(1, 60), seed=2)
    other.reset(seed=9)
    other.set_state(seen[-1])
    assert_array_equal(other.obs_agent_two(), env.obs_agent_two())
    move = actions(3, 1)[0]
    np.testing.assert_allclose(other.step(move)[0], env.step(move)[0], atol=1e-4)


@pytest.mark.parametrize("state", [np.zeros(16), np.full(18, np.nan), np.zeros((2, 18)), np.full(18, 1e30)])
def test_set_state_refuses_what_is_no_observation(state: Any) -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        HockeyEnv().set_state(state)


def test_without_keep_mode() -> None:
    env = HockeyEnv(keep_mode=False)
    obs, _ = env.reset(seed=0)
    assert obs.shape == env.obs_agent_two().shape == (16,)
    assert env.action_space.shape == (6,)
    for move in actions(0, 200, 6):
        obs, _, done, _, _ = env.step(move)
        assert env.player1_has_puck == env.player2_has_puck == 0
        if done:
            break
    with pytest.raises(ValueError, match="6 numbers"):
        env.step(np.zeros(8))


@pytest.mark.parametrize("action", [np.zeros(7), np.zeros((1, 8)), [0.0] * 9, 1.0, ["a"] * 8, [None] * 8])
def test_actions_of_a_wrong_shape(action: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        HockeyEnv().step(action)


def test_nan_is_refused_and_nothing_happens() -> None:
    env = HockeyEnv()
    before, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match="NaN"):
        env.step([0, 0, 0, 0, 0, 0, float("nan"), 0])
    assert env.time == 0


@pytest.mark.parametrize("kind", [np.float32, np.float64, list, tuple])
def test_actions_are_clipped_and_rounded_to_float32(kind: Any) -> None:
    wild = actions(4, 20) * 1.7
    wild[3, 2], wild[5, 0] = np.inf, -np.inf
    tame = np.clip(wild, -1, 1).astype(np.float32)
    given = [kind(move) for move in wild]
    assert_array_equal(play(HockeyEnv(), given, seed=0), play(HockeyEnv(), tame, seed=0))


def test_discrete_actions() -> None:
    env = HockeyEnv()
    assert env.discrete_action_space.n == 7
    table = [env.discrete_to_continous_action(index) for index in range(8)]
    assert table[0] == [0, 0, 0, 0]
    assert [move.index(-1) for move in table[1:7:2]] == [0, 1, 2]
    assert [move.index(1) for move in table[2:8:2]] == [0, 1, 2]
    assert table[7] == [0, 0, 0, 1]
    assert HockeyEnv(keep_mode=False).discrete_to_continous_action(5) == [0, 0, -1]
    with pytest.raises(ValueError, match="from 0 to 7"):
        env.discrete_to_continous_action(8)


def test_seed_replaces_the_generator() -> None:
    env = HockeyEnv()
    assert env.seed(7) == [7]
    draws = env.np_random.random()
    env.seed(7)
    assert env.np_random.random() == draws


def test_one_player_environment_plays_the_basic_opponent() -> None:
    env = HockeyEnv_BasicOpponent(mode=Mode.NORMAL, weak_opponent=True)
    assert env.action_space.shape == (4,)
    assert env.opponent.weak
    env.reset(one_starting=False, seed=1)
    for _ in range(40):
        obs, _, _, _, _ = env.step(np.zeros(4))
    assert abs(obs[6] - 3) > 0.1
    with pytest.raises(ValueError, match="4 numbers"):
        env.step(np.zeros(8))


def test_it_is_loaded_where_warnings_are_errors() -> None:
    command = [sys.executable, "-W", "error", "-c", "import competitor.rink"]
    subprocess.run(command, check=True, cwd=Path(competitor.__file__).parents[1])

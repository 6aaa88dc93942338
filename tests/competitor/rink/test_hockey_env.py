"""The module that stands in for the course's: all of its names, and programs written for it."""

from math import pi

import numpy as np
import pytest

import competitor.rink.hockey_env as h_env

CONSTANTS = {
    "FPS": 50, "SCALE": 60.0, "VIEWPORT_W": 600, "VIEWPORT_H": 480, "W": 10, "H": 8, "CENTER_X": 5, "CENTER_Y": 4,
    "ZONE": 0.5, "MAX_ANGLE": pi / 3, "MAX_TIME_KEEP_PUCK": 15, "GOAL_SIZE": 75, "RACKETFACTOR": 1.2,
    "FORCEMULTIPLIER": 6000, "SHOOTFORCEMULTIPLIER": 60, "TORQUEMULTIPLIER": 400, "MAX_PUCK_SPEED": 25,
}  # fmt: skip
METHODS = {
    *("reset", "step", "render", "close", "seed", "set_state", "discrete_to_continous_action", "obs_agent_two"),
    *("get_info_agent_two", "get_reward", "get_reward_agent_two", "_get_obs", "_get_info"),
}
ATTRIBUTES = {
    *("puck", "player1", "player2", "goal_player_1", "goal_player_2", "player1_has_puck", "player2_has_puck"),
    *("winner", "done", "time", "max_timesteps", "keep_mode", "one_starts", "num_actions", "mode"),
    *("action_space", "observation_space", "screen", "clock", "isopen", "closest_to_goal_dist"),
}


def test_constants() -> None:
    assert {name: getattr(h_env, name) for name in CONSTANTS} == CONSTANTS
    assert len(h_env.RACKETPOLY) == 7 and h_env.RACKETPOLY[0] == (-10, 20)
    assert [(mode.name, mode.value) for mode in h_env.Mode] == [
        ("NORMAL", 0), ("TRAIN_SHOOTING", 1), ("TRAIN_DEFENSE", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [h_env.HockeyEnv, h_env.HockeyEnv_BasicOpponent])
def test_every_name_of_the_environment(kind: type[h_env.HockeyEnv]) -> None:
    env = kind()
    env.reset(seed=0)
    assert [name for name in METHODS if not callable(getattr(env, name, None))] == []
    assert [name for name in ATTRIBUTES if not hasattr(env, name)] == []
    assert (env.num_actions, env.screen, env.clock, env.isopen) == (4, None, None, True)


def test_private_views_are_those_of_the_last_step() -> None:
    env = h_env.HockeyEnv()
    obs, info = env.reset(seed=0)
    np.testing.assert_array_equal(env._get_obs(), obs)
    obs, _, _, _, info = env.step(np.ones(8))
    np.testing.assert_array_equal(env._get_obs(), obs)
    assert env._get_info() == info


def test_goals_stand_where_they_belong() -> None:
    env = h_env.HockeyEnv()
    left, right = env.goal_player_1.position, env.goal_player_2.position
    assert left[0] < 1 < 9 < right[0]
    assert left[1] == right[1] == h_env.CENTER_Y


class Planner:
    """Searches among random actions on a rink of its own, the way agents for the course's module do."""

    def __init__(self) -> None:
        self.model = h_env.HockeyEnv(mode=h_env.Mode.NORMAL)
        self.random = np.random.default_rng(0)

    def act(self, env: h_env.HockeyEnv) -> np.ndarray:
        best, chosen = -np.inf, np.zeros(4)
        for action in self.random.uniform(-1, 1, (12, 4)):
            self.model.set_state(env._get_obs())
            for _ in range(4):
                self.model.step(np.hstack([action, np.zeros(4)]))
            player, puck = self.model.player1.position, self.model.puck.position
            distance = np.hypot(player[0] - puck[0], (player[1] - puck[1])) / (h_env.W * h_env.SCALE)
            if -distance > best:
                best, chosen = -distance, action
        return chosen


def test_a_planning_agent_for_the_course_s_module_plays() -> None:
    env, planner = h_env.HockeyEnv(), Planner()
    env.reset(one_starting=True, seed=0)
    before = env.player1.position.x - env.puck.position.x
    for _ in range(25):
        env.step(np.hstack([planner.act(env), np.zeros(4)]))
        if env.player1_has_puck:
            break
    assert env.player1_has_puck or abs(env.player1.position.x - env.puck.position.x) < abs(before)


@pytest.mark.parametrize(("player", "side"), [(1, 1.0), (2, -1.0)])
def test_a_human_plays_with_the_keys_of_the_window(player: int, side: float, monkeypatch: pytest.MonkeyPatch) -> None:
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = h_env.HockeyEnv()
    human = h_env.HumanOpponent(env, player=player)
    assert env.screen is not None and env.clock is not None
    pressed: set[int] = set()
    monkeypatch.setattr(pygame.key, "get_pressed", lambda: Keys(pressed))
    assert human.act(env.obs_agent_two()).tolist() == [0, 0, 0, 0]
    pressed |= {pygame.K_LEFT, pygame.K_UP, pygame.K_w, pygame.K_SPACE}
    assert human.act(env.obs_agent_two()).tolist() == [-side, side, 1, 1]
    pressed |= {pygame.K_RIGHT, pygame.K_DOWN, pygame.K_s}
    assert human.act(env.obs_agent_two()).tolist() == [0, 0, 0, 1]
    env.close()
    assert env.isopen is False and env.screen is None


class Keys:
    """What pygame says is pressed."""

    def __init__(self, pressed: set[int]) -> None:
        self._pressed = pressed

    def __getitem__(self, key: int) -> bool:
        return key in self._pressed

"""The rink is the same when it is reflected up-down."""

from typing import Any

import numpy as np
import pytest

from competitor.rink import ACTION_MIRROR, OBS_MIRROR, HockeyEnv


def after(state: Any, action: Any) -> Any:
    """Both observations one step after a state."""
    env = HockeyEnv()
    env.reset(one_starting=True, seed=0)
    env.set_state(state)
    env.step(action)
    return env.step(action)[0], env.obs_agent_two()


@pytest.mark.parametrize("seed", range(3))
def test_reflected_rounds_are_equal(seed: int) -> None:
    """From states of a random round, also those with contacts; float32 leaves small differences."""
    random = np.random.default_rng(seed)
    env = HockeyEnv()
    obs, _ = env.reset(seed=seed)
    both = np.tile(ACTION_MIRROR, 2)
    for step in range(100):
        action = random.uniform(-1, 1, 8)
        if step % 5 == 0:
            straight, reflected = after(obs, action), after(obs * OBS_MIRROR, action * both)
            for one, other in zip(straight, reflected, strict=True):
                np.testing.assert_allclose(one * OBS_MIRROR, other, atol=2e-4)
        obs, _, done, _, _ = env.step(action)
        if done:
            break

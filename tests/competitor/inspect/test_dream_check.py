"""The yardstick of the dream: cuts, errors, goals, returns."""

import math

import numpy as np
import pytest
import torch

from competitor.config import Config
from competitor.inspect.dream_check import CONTEXT, HORIZONS, Windows, check_dream, cut_windows, dream_on
from competitor.rink.constants import MOST_STEPS
from dreamer.agent import Dreamer
from dreamer.replay import Episode


def round_of(steps: int, *, terminal: bool) -> Episode:
    """A round whose numbers tell their place: observation t is t, action and reward t lead to t + 1."""
    times = np.arange(steps + 1, dtype=np.float32)
    obs, action = np.repeat(times[:, None], 18, axis=1), np.repeat(times[:-1, None] + 1, 4, axis=1)
    return Episode(obs, action, times[1:].copy(), terminal)


@pytest.fixture
def windows() -> Windows:
    return cut_windows([round_of(30, terminal=True), round_of(60, terminal=False), round_of(10, terminal=True)])


@pytest.fixture
def agent(debug_config: Config) -> Dreamer:
    return Dreamer(debug_config.dreamer, 18, 4, seed=3)


def test_windows_hold_what_led_to_each_observation_until_the_round_ends(windows: Windows) -> None:
    assert windows.obs.shape == (CONTEXT + max(HORIZONS), 2 + 5, 18)
    second = windows.obs[:, 1, 0]
    assert second[0] == 10 and second[20] == 30 and (second[20:] == 30).all()
    assert torch.equal(windows.action[1:21, 1, 0], windows.obs[1:21, 1, 0])
    assert windows.action[0, 1, 0] == 10 and (windows.action[21:, 1] == 0).all()
    assert windows.action[0, 0, 0] == 0  # nothing led to a first observation
    assert windows.reward[20, 1] == 30 and (windows.reward[21:, 1] == 0).all()
    assert windows.steps_left[:2].tolist() == [11, 1] and windows.goal.tolist() == [True] * 2 + [False] * 5


def test_rounds_shorter_than_the_context_are_no_windows() -> None:
    with pytest.raises(ValueError, match="no round is longer"):
        cut_windows([round_of(10, terminal=True)])


def test_a_dream_that_decodes_the_truth_has_no_error(
    windows: Windows, agent: Dreamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.world_model, "decode", lambda _: windows.obs[CONTEXT - 1 :])
    report = check_dream(agent.world_model, windows, discount=0.99)
    assert all(error == 0.0 for errors in report.errors.values() for error in errors.values())
    monkeypatch.setattr(agent.world_model, "decode", lambda _: windows.obs[CONTEXT - 1 :] + 3.0)
    report = check_dream(agent.world_model, windows, discount=0.99)
    assert report.errors["puck"][15] == report.means["own"][7] == pytest.approx(3.0 * math.sqrt(2.0))
    assert report.untouched_windows == 0  # all bodies stand at one place


def test_a_round_that_the_clock_ends_is_no_goal_and_no_false_alarm(agent: Dreamer) -> None:
    windows = cut_windows([round_of(MOST_STEPS, terminal=True), round_of(MOST_STEPS - 1, terminal=True)])
    whole = len(windows.goal) // 2
    assert not windows.goal[:whole].any() and windows.goal[whole + 1 :].all()
    with torch.no_grad():
        agent.world_model.continue_head[-1].weight.zero_()
        agent.world_model.continue_head[-1].bias.fill_(9.0)
    quiet = check_dream(agent.world_model, windows, discount=0.99)
    follows = (windows.goal & (windows.steps_left <= 15)).sum()
    assert quiet.goal_windows == follows and quiet.false_alarms == 0.0


@pytest.mark.parametrize(("bias", "seen"), [(-9.0, 1.0), (9.0, 0.0)])
def test_an_end_expected_everywhere_is_seen_everywhere(
    windows: Windows, agent: Dreamer, bias: float, seen: float
) -> None:
    with torch.no_grad():
        agent.world_model.continue_head[-1].weight.zero_()
        agent.world_model.continue_head[-1].bias.fill_(bias)
    report = check_dream(agent.world_model, windows, discount=0.99)
    assert (report.goals_seen, report.false_alarms) == (seen, seen)


def test_returns_are_the_discounted_rewards_of_the_dreamed_steps(windows: Windows, agent: Dreamer) -> None:
    report = check_dream(agent.world_model, windows, discount=0.5)
    rewards = windows.reward[CONTEXT : CONTEXT + 15]
    wanted = sum(0.5**t * rewards[t] for t in range(15)).mean()
    assert report.return_real == pytest.approx(float(wanted), rel=1e-5)
    assert report.return_dreamed == 0.0 and report.return_bias == -report.return_real  # the head begins at zero


def test_one_seed_gives_one_report_and_draws_nothing_else(windows: Windows, agent: Dreamer) -> None:
    before = agent.generator.get_state()
    one, two = (check_dream(agent.world_model, windows, discount=0.99, seed=5) for _ in range(2))
    assert one == two
    assert torch.equal(agent.generator.get_state(), before)
    states = dream_on(agent.world_model, windows, torch.Generator().manual_seed(0))
    assert states["h"].shape[:2] == (1 + max(HORIZONS), 7)

"""Critic against real returns, and the drift of a latent state over a whole round."""

import math

import pytest
import torch

from competitor.config import Config
from competitor.inspect import heads_check
from competitor.inspect.dream_check import CONTEXT, Windows, cut_windows
from competitor.inspect.heads_check import LATE, check_critic, check_drift
from dreamer.agent import Dreamer
from dreamer.sequence_model import State, features
from tests.competitor.inspect.test_dream_check import round_of


@pytest.fixture
def agent(debug_config: Config) -> Dreamer:
    return Dreamer(debug_config.dreamer, 18, 4, seed=3)


def test_the_critic_is_held_against_the_rest_of_its_round(agent: Dreamer) -> None:
    """Its head begins at zero, so the bias is the real return with the sign turned."""
    discount = agent.config.behavior.discount
    report = check_critic(agent, [round_of(31, terminal=True), round_of(22, terminal=False)], seed=0)
    # Windows start at 0 and 10 of the first and at 0 of the second round; reward t leads to observation t.
    ends = [(20, 31), (30, 31), (20, 22)]
    real = [sum(discount ** (t - first) * t for t in range(first, last + 1)) for first, last in ends]
    assert report.states == 3 and report.value == 0.0
    assert report.real == pytest.approx(sum(real) / 3, rel=1e-5)
    assert report.bias == -report.real


def test_the_states_of_a_round_count_as_one_observation() -> None:
    differences = torch.tensor([1.0, 1.0, 1.0, -3.0])
    alone = heads_check.clustered_error95(differences, [1, 1, 1, 1])
    together = heads_check.clustered_error95(differences, [3, 0, 1])
    assert alone == pytest.approx(1.96 * math.sqrt(12) / 4) and together == pytest.approx(1.96 * math.sqrt(18) / 4)


def test_whole_rounds_and_fresh_contexts_are_compared_at_the_same_steps(
    agent: Dreamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def what_is_seen(_: object, windows: Windows) -> State:
        return {"joined": windows.obs}

    monkeypatch.setattr(heads_check, "filtered", what_is_seen)
    late, first = [round_of(200, terminal=False), round_of(170, terminal=True)], LATE - CONTEXT + 1
    seen = heads_check.late_features(agent.world_model, late, first)
    assert torch.equal(seen, cut_windows(late, dreamed=0, first=first).obs[-1])
    assert seen[:, 0].tolist() == [150, 160, 170, 180, 190, 150, 160]


def test_filtering_afresh_is_filtering_from_the_start_of_a_short_round(agent: Dreamer) -> None:
    windows = cut_windows([round_of(CONTEXT, terminal=True)], dreamed=0)
    one, two = (features(heads_check.filtered(agent.world_model, windows)) for _ in range(2))
    assert one.shape == (CONTEXT, 1, agent.world_model.dynamics.feature_size) and torch.equal(one, two)


def test_drift_is_the_mean_difference_of_the_heads(agent: Dreamer) -> None:
    rounds = [round_of(200, terminal=False), round_of(60, terminal=True)]
    report = check_drift(agent.world_model, rounds)
    assert report.states == 5 and report.goes_on_difference > 0.0
    assert report.reward_difference == 0.0  # the reward head begins at zero
    with torch.no_grad():
        agent.world_model.continue_head[-1].weight.zero_()
    assert check_drift(agent.world_model, rounds).goes_on_difference == 0.0


def test_without_a_long_round_there_is_nothing_to_say_of_drift(agent: Dreamer) -> None:
    report = check_drift(agent.world_model, [round_of(LATE, terminal=True)])
    assert report.states == 0 and math.isnan(report.goes_on_difference)

import pytest
import torch

from dreamer.agent import Dreamer
from dreamer.averaging import LONGEST, WeightAverage
from dreamer.pipeline import Pipeline
from tests.dreamer.tiny import filled_buffer, tiny_agent


def shift(agent: Dreamer, to: float) -> None:
    """Pretend an update that moved every weight to one number."""
    agent.updates += 1
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.fill_(to)


def mean_of(average: WeightAverage) -> float:
    weights = torch.cat([parameter.flatten() for parameter in average.agent.parameters()])
    assert torch.allclose(weights, weights[0])
    return float(weights[0])


def test_the_mean_follows_its_definition_and_forgets_the_beginning() -> None:
    agent = tiny_agent()
    average, wanted = WeightAverage(agent, 0.25), 0.0
    for update in range(1, 101):
        to = 100.0 if update <= 10 else 1.0 + update % 2
        shift(agent, to)
        average.update()
        wanted += min(1.0, 4.0 / update) * (to - wanted)
    assert mean_of(average) == pytest.approx(wanted, rel=1e-4)
    assert mean_of(average) == pytest.approx(1.5, abs=0.1)  # neither 1 nor 2, and 100 is forgotten


def test_the_mean_of_a_long_run_is_not_far_behind() -> None:
    agent = tiny_agent()
    average = WeightAverage(agent, 0.125)
    agent.updates = 1_000 * LONGEST
    shift(agent, 0.0)
    average.agent.load_weights(agent.state_dict())
    for _ in range(100):
        shift(agent, 1.0)
        average.update()
    assert mean_of(average) == pytest.approx(1.0 - (1.0 - 1.0 / LONGEST) ** 100, rel=1e-3)


def test_the_first_updates_are_copied() -> None:
    agent = tiny_agent()
    average = WeightAverage(agent, 0.125)
    for to in (5.0, 7.0):
        shift(agent, to)
        average.update()
        assert mean_of(average) == to


@pytest.mark.parametrize("overlap", [True, False])
def test_learning_is_the_same_with_and_without_an_average(overlap: bool) -> None:
    learned = []
    for share in (0.0, 0.125):
        agent = tiny_agent(optimizer={"average_share": share, "warmup": 0})
        pipeline, buffer = Pipeline(agent, overlap=overlap), filled_buffer(agent.config)
        pipeline.train_prelude(buffer.sample())
        for _ in range(20):
            pipeline.train_step(buffer.sample())
        pipeline.close()
        learned.append(agent.state_dict())
        averaged = pipeline.averaged
        assert (averaged is agent) is (share == 0.0) and averaged.updates == 21
    assert all(torch.equal(value, learned[1][key]) for key, value in learned[0].items())
    assert not any(parameter.requires_grad for parameter in averaged.parameters())
    changed = [not torch.equal(value, learned[1][key]) for key, value in averaged.state_dict().items()]
    assert sum(changed) > 20


def test_an_agent_that_was_changed_from_outside_is_followed_from_there() -> None:
    agent = tiny_agent()
    pipeline = Pipeline(agent)
    agent.fit_normalizer(torch.randn(50, 3) + 4.0)
    pipeline.begin_anew()
    for copy in (pipeline.player, pipeline.averaged):
        assert torch.equal(copy.world_model.obs_mean, agent.world_model.obs_mean)
    pipeline.close()

"""An agent that tries its actions out before it plays one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cli import cli
from competitor.config import Config, load_config
from competitor.engine.brain import DreamerBrain
from competitor.errors import ConfigError, PlayerError
from competitor.evaluate.card import can_be_carded
from competitor.players import DreamerPlayer, SampledDreamer, make_player, rollouts, searching
from competitor.players.search import Searcher
from dreamer import fast
from dreamer.agent import Dreamer
from dreamer.checkpoint import save_checkpoint

FREE_SHOT = [2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 2.3, 0, 0, 0, 9, 0]
"""The puck held in front of an empty goal."""


@pytest.fixture(autouse=True)
def chosen_again() -> Iterator[None]:
    yield
    fast.use("auto")


def undecided(config: Config) -> Dreamer:
    """An agent that stands still and would as soon shoot as not, but rather not."""
    agent = Dreamer(config.dreamer, seed=3)
    logits = torch.full((4, 3), -9.0)
    logits[:, 1], logits[3, 2] = 0.0, -0.1
    with torch.no_grad():
        agent.behavior.policy.net[-1].weight.zero_()
        agent.behavior.policy.net[-1].bias.copy_(logits.flatten())
    return agent


def lively(config: Config) -> Dreamer:
    """An agent whose actions depend on what it sees."""
    agent = Dreamer(config.dreamer, seed=3)
    with torch.no_grad():
        agent.behavior.policy.net[-1].weight.mul_(100.0)
        agent.behavior.value.net[-1].weight.normal_(generator=torch.Generator().manual_seed(4))
    return agent


def player(agent: Dreamer) -> DreamerPlayer:
    return DreamerPlayer(agent, "searching", acting=Searcher(agent, "searching"))


def act_once(who: DreamerPlayer, *obs: list[float]) -> np.ndarray:
    who.reset(len(obs))
    return who.act(np.array(obs, np.float32), np.ones(len(obs), np.bool_))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "observed"])
def config(request: pytest.FixtureRequest) -> Config:
    return load_config(preset="debug", overrides=[f"model.observed={str(request.param).lower()}"])


def test_a_goal_that_the_policy_would_miss_is_found(config: Config) -> None:
    agent = undecided(config)
    assert act_once(DreamerPlayer(agent, "alone"), FREE_SHOT)[0, 3] == 0.0
    assert act_once(player(agent), FREE_SHOT)[0, 3] == 1.0


def test_where_it_changes_nothing_the_likeliest_action_is_played(config: Config) -> None:
    """The puck rests far away: whatever is tried, the critic (zero before it has learned) says the same."""
    far = [-3, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0]
    assert act_once(player(undecided(config)), far).tolist() == [[0.0, 0.0, 0.0, 0.0]]


def drawing(agent: Dreamer) -> SampledDreamer:
    return SampledDreamer(agent, "drawn", acting=Searcher(agent, "drawn"))


@pytest.mark.parametrize("make", [player, drawing])
def test_it_is_the_same_alone_and_beside_others_compiled_or_not(
    config: Config, make: Callable[[Dreamer], DreamerPlayer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts, "HORIZON", 3)
    random = np.random.default_rng(5)
    seen = random.uniform(-2.5, 2.5, (2, 2, 18)).astype(np.float32)
    seen[..., 16:] = random.integers(0, 16, (2, 2, 2))
    agent = lively(config)
    for kind in ("plain", "native"):
        fast.use(kind)
        together, alone = make(agent), [make(agent), make(agent)]
        together.reset(2)
        for row, one in enumerate(alone):
            one.reset(1)
            if isinstance(one, SampledDreamer) and isinstance(together, SampledDreamer):
                one.begin_round(0, (row, 7))
                together.begin_round(row, (row, 7))
        for step, obs in enumerate(seen):
            first = np.full(2, step == 0)
            apart = [one.act(obs[row : row + 1], first[:1])[0] for row, one in enumerate(alone)]
            assert np.array_equal(together.act(obs, first), apart)


def test_what_no_rink_shows_is_left_to_the_policy(config: Config) -> None:
    """Bodies far outside, or counters that are none: nothing to try anything out on."""
    agent = lively(config)
    absurd = [[1e9, *FREE_SHOT[1:]], [*FREE_SHOT[:16], -1, 0], [*FREE_SHOT[:14], 3e38, -3e38, 0, 0]]
    assert np.array_equal(act_once(player(agent), *absurd), act_once(DreamerPlayer(agent, "alone"), *absurd))


def test_weights_that_broke_are_noticed_as_without_a_search(config: Config) -> None:
    agent = lively(config)
    with torch.no_grad():
        agent.behavior.policy.net[-1].bias[0] = torch.nan
    assert act_once(player(agent), FREE_SHOT).tolist() == [[0.0, 0.0, 0.0, 0.0]]


def test_matches_of_the_engine_search_as_players_do(config: Config) -> None:
    agent = lively(config)
    brain = DreamerBrain(agent, name="searching", digest="d", acting=Searcher(agent, "searching"))
    brain.self_test()
    slots = [brain.open(), brain.open()]
    obs = np.array([FREE_SHOT, FREE_SHOT], np.float32)
    acted = brain.act(slots, obs, np.ones(2, np.bool_), np.zeros((2, 4), np.float32))
    assert acted.tolist() == act_once(player(agent), FREE_SHOT, FREE_SHOT).tolist()


def test_gaussian_policies_search_as_well() -> None:
    agent = Dreamer(load_config(preset="seed").dreamer, seed=3)
    assert np.isfinite(act_once(player(agent), FREE_SHOT)).all()


def test_who_cannot_search_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(PlayerError, match="weak cannot search, as it has no world model"):
        make_player("search:weak", seed=0)
    with pytest.raises(PlayerError, match="unknown player 'nobody'"):
        make_player("search:nobody", seed=0)
    small = Dreamer(load_config(preset="debug").dreamer, obs_size=16, action_size=3)
    save_checkpoint(tmp_path / "small", small, {})
    with pytest.raises(PlayerError, match="trained with rink.keep_mode = true"):
        make_player(f"search:{tmp_path / 'small.safetensors'}", seed=0)
    with pytest.raises(ConfigError, match="has no model card"):
        can_be_carded("search:champion")


def test_evaluate_takes_it_as_an_option() -> None:
    with pytest.raises(PlayerError, match="weak cannot search"):
        cli.main(["evaluate", "weak", "--search", "--rounds", "2"], standalone_mode=False)
    assert searching("champion") == searching(searching("champion")) == "search:champion"

import math

import pytest
import torch

from dreamer.behavior import Behavior, Policy, replay_returns, shared_luck
from dreamer.config import BehaviorConfig
from dreamer.distributions import TanhNormal
from dreamer.networks import initialize
from dreamer.sequence_model import State
from tests.dreamer.tiny import filled_buffer, noise_source, tiny_agent, tiny_config

KINDS = pytest.mark.parametrize("kind", ["dreamerv3", "seed"])


def make_behavior(kind: str = "dreamerv3", **settings: object) -> Behavior:
    behavior = Behavior(32, 2, tiny_config(model={"kind": kind}, behavior=settings))
    initialize(behavior, noise_source(1))
    behavior.synchronize()
    return behavior


def dream(batch: int = 64, horizon: int = 5) -> tuple[State, torch.Tensor, torch.Tensor, torch.Tensor]:
    random = noise_source(2)
    states = {key: torch.randn(horizon + 1, batch, 16, generator=random) for key in ("h", "z")}
    actions = torch.randint(-1, 2, (horizon, batch, 2), generator=random).float()
    rewards = torch.randn(horizon, batch, generator=random)
    return states, actions, rewards, torch.ones(horizon, batch)


def learn(behavior: Behavior, steps: int, *, rewarded: torch.Tensor | None = None, rate: float = 3e-2) -> None:
    """REINFORCE on a fixed set of states with freshly drawn actions; reward 1 for the action ``rewarded``."""
    states, _, _, continues = dream()
    optimizer, random = torch.optim.Adam(behavior.parameters(), rate), noise_source(3)
    seen = torch.cat([states["h"], states["z"]], -1)[:-1]
    for _ in range(steps):
        with torch.no_grad():
            actions = behavior.policy(seen).sample(random)
        rewards = torch.zeros_like(continues)
        if rewarded is not None:
            rewards = (actions - rewarded).abs().sum(-1).lt(0.5).float()
        actor_loss, critic_loss, *_ = behavior.train_step(states, actions, rewards, continues, random)
        optimizer.zero_grad()
        (actor_loss + critic_loss).backward()
        optimizer.step()


def mean_entropy(behavior: Behavior) -> float:
    states, *_ = dream()
    seen = torch.cat([states["h"], states["z"]], -1)
    return behavior.policy(seen).entropy(noise_source(4)).mean().item()


@KINDS
def test_the_entropy_bonus_raises_entropy(kind: str) -> None:
    behavior = make_behavior(kind, entropy=0.1)
    before = mean_entropy(behavior)
    learn(behavior, 30)
    after = mean_entropy(behavior)
    most = 2 * math.log(3.0) if kind == "dreamerv3" else 2 * math.log(2.0)
    assert before < after < most + 1e-3


def test_the_entropy_bonus_does_not_drive_a_narrow_policy_to_determinism() -> None:
    """At the minimum deviation the entropy is negative; the bonus must still widen the policy."""
    behavior = make_behavior("seed", entropy=0.1)
    with torch.no_grad():
        behavior.policy.net[-1].bias[2:] = -8.0
    before = mean_entropy(behavior)
    assert before < 0
    learn(behavior, 60)
    assert mean_entropy(behavior) > before + 0.5


@KINDS
def test_reinforce_makes_rewarded_actions_likelier(kind: str) -> None:
    behavior = make_behavior(kind, entropy=1e-4, discount=0.5)
    target = torch.tensor([1.0, 0.0])
    states, *_ = dream()
    seen = torch.cat([states["h"], states["z"]], -1)
    wanted = target.expand(*seen.shape[:-1], 2)

    def distance() -> float:
        return (behavior.policy(seen).sample(noise_source(6)) - wanted).abs().mean().item()

    before = distance()
    learn(behavior, 80, rewarded=target, rate=1e-2)
    assert distance() < 0.7 * before


def test_policy_starts_close_to_uniform() -> None:
    agent = tiny_agent()
    entropy = agent.behavior.policy(torch.randn(50, 32, generator=noise_source())).entropy()
    torch.testing.assert_close(entropy.mean(), torch.tensor(2 * math.log(3.0)), atol=1e-2, rtol=0.0)


def test_tanh_normal_keeps_its_deviation_within_the_settings() -> None:
    policy = Policy(32, 2, tiny_config(model={"kind": "seed"}))
    dist = policy(100.0 * torch.randn(200, 32, generator=noise_source()))
    assert isinstance(dist, TanhNormal)
    assert dist.std.min() >= 0.1 and dist.std.max() <= 1.0


def test_the_return_scale_divides_the_advantages() -> None:
    states, actions, rewards, continues = dream()
    losses = {}
    for size in (1.0, 100.0):
        behavior = make_behavior(entropy=0.0)
        behavior.return_scale.rate = 1.0
        losses[size] = abs(behavior.train_step(states, actions, size * rewards, continues)[0].item())
    plain = make_behavior("seed", entropy=0.0)
    unscaled = abs(plain.train_step(states, actions, 100.0 * rewards, continues)[0].item())
    assert losses[100.0] < 3 * losses[1.0]
    assert unscaled > 20 * losses[100.0]


@pytest.mark.parametrize("siblings", [2, 4])
def test_without_the_luck_of_siblings_credit_is_less_noisy_and_as_right(siblings: int) -> None:
    """A step's credit is 0.3 times its action and ten times as much luck, of which siblings share the most."""
    random, dreams = noise_source(5), 20_000
    luck = 3.0 * torch.randn(2, dreams // siblings, generator=random).repeat(1, siblings)
    action = torch.randn(2, dreams, generator=random)
    credit = 0.3 * action + luck + 0.3 * torch.randn(2, dreams, generator=random)
    left = credit - shared_luck(credit, siblings)
    assert (action * left).mean().item() == pytest.approx(0.3, abs=0.01)
    assert left.std() < 0.25 * credit.std()


def test_siblings_with_nothing_in_common_are_left_alone() -> None:
    credit = torch.randn(3, 20_000, generator=noise_source(5))
    assert shared_luck(credit, 2).abs().max() < 0.1


def test_the_actor_learns_nothing_from_the_steps_that_it_only_looks_ahead() -> None:
    states, actions, rewards, continues = dream()
    for lookahead, blind in ((2, True), (0, False)):
        behavior = make_behavior(lookahead=lookahead)
        one = behavior.train_step(states, actions, rewards, continues)[0]
        other = torch.cat([actions[:-2], -actions[-2:]])
        assert torch.equal(one, behavior.train_step(states, other, rewards, continues)[0]) is blind
        late = torch.cat([rewards[:-2], 2.0 * rewards[-2:]])
        assert not torch.equal(one, behavior.train_step(states, actions, late, continues)[0])


def test_dreamed_ends_cut_the_weight_of_what_follows() -> None:
    behavior = make_behavior(entropy=0.0)
    states, actions, rewards, continues = dream()
    continues[2] = 0.0
    one = behavior.train_step(states, actions, rewards, continues)
    rewards[3:] += 1000.0
    two = behavior.train_step(states, actions, rewards, continues)
    torch.testing.assert_close(one[2][:3], two[2][:3])
    torch.testing.assert_close(one[1], two[1])  # the critic's loss


def test_slow_regularisation_pulls_the_critic_to_its_slow_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    states, actions, rewards, continues = dream()

    def drift(weight: float) -> float:
        monkeypatch.setattr(BehaviorConfig, "slow_regularization", weight)
        behavior = make_behavior()
        optimizer = torch.optim.Adam(behavior.value.parameters(), 1e-3)
        seen = torch.cat([states["h"], states["z"]], -1)
        for _ in range(40):
            critic_loss = behavior.train_step(states, actions, rewards + 5.0, continues)[1]
            optimizer.zero_grad()
            critic_loss.backward()
            optimizer.step()
        fast, slow = behavior.value(seen), behavior.value_target(seen)
        return (behavior.value.mean(fast) - behavior.value.mean(slow)).abs().mean().item()

    assert drift(20.0) < 0.5 * drift(0.0)


def test_the_slow_critic_follows_at_its_rate_and_can_give_the_targets() -> None:
    behavior = make_behavior("seed")
    fast, slow = behavior.value.net[0].weight, behavior.value_target.net[0].weight
    with torch.no_grad():
        fast.add_(1.0)
    before = slow.clone()
    behavior.update_slow_value()
    torch.testing.assert_close(slow, before + 0.02, atol=1e-6, rtol=1e-5)
    states, actions, rewards, continues = dream()
    returns = behavior.train_step(states, actions, rewards, continues)[2]
    with torch.no_grad():
        fast.mul_(3.0)
    torch.testing.assert_close(behavior.train_step(states, actions, rewards, continues)[2], returns)


def test_replay_returns_do_not_cross_rounds() -> None:
    rewards = torch.tensor([[1.0], [2.0], [4.0]])
    values = torch.tensor([[10.0], [20.0], [30.0], [40.0]])
    alive, ends = torch.ones(3, 1), torch.zeros(4, 1, dtype=torch.bool)
    plain = replay_returns(rewards, values, alive, ends, 0.5, 1.0)
    torch.testing.assert_close(plain[0, 0], torch.tensor(1 + 0.5 * (2 + 0.5 * (4 + 0.5 * 40))))
    ends[1] = True  # entry 1 is the last of a round that ran out of time: its value stands for the rest
    cut = replay_returns(rewards, values, alive, ends, 0.5, 1.0)
    torch.testing.assert_close(cut[0, 0], torch.tensor(1 + 0.5 * 20.0))
    alive[0] = 0.0  # entry 1 ended the round for good
    terminal = replay_returns(rewards, values, alive, ends, 0.5, 1.0)
    torch.testing.assert_close(terminal[0, 0], torch.tensor(1.0))


def test_replay_value_loss_fits_the_critic_to_real_returns_and_spares_the_world_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BehaviorConfig, "slow_regularization", 0.0)
    agent = tiny_agent(behavior={"discount": 0.5})
    batch = filled_buffer(agent.config).sample()
    batch["reward"] = torch.full_like(batch["reward"], 3.0)
    _, posteriors, _ = agent.world_model.compute_loss(batch, None, noise_source())
    optimizer = torch.optim.Adam(agent.behavior.value.parameters(), 1e-2)
    for _ in range(150):
        loss = agent.behavior.replay_value_loss(posteriors, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(parameter.grad is None for parameter in agent.world_model.parameters())
    seen = torch.cat([posteriors["h"], posteriors["z"]], -1)[:-1][~batch["is_last"][:-1]]
    values = agent.behavior.value.mean(agent.behavior.value(seen))
    assert 2.5 < values.mean().item() < 6.5  # between the reward alone and 3 / (1 - 0.5)


def test_replayed_returns_go_on_with_what_was_dreamed_and_count_for_own_steps_alone() -> None:
    agent = tiny_agent(behavior={"discount": 0.5, "lambda": 1.0})
    behavior, batch = agent.behavior, filled_buffer(agent.config).sample()
    batch["is_last"][:], batch["is_terminal"][:], batch["reward"][:] = False, False, 0.0
    posteriors = {"h": torch.zeros(6, 4, 16), "z": torch.zeros(6, 4, 16)}  # its critic says 0 of every state
    ends = torch.arange(20, 24), torch.tensor([8.0, -16.0, 0.0, 32.0])
    batch["is_own"] = torch.tensor([True, True, True, False]).expand(6, 4)
    returns = ends[1][:3] * 0.5 ** torch.arange(5, 0, -1)[:, None]
    output = behavior.value(torch.zeros(5, 3, 32))
    kept = behavior.config.slow_regularization * behavior.value.loss(output, torch.zeros(5, 3))
    wanted = (behavior.value.loss(output, returns) + kept).sum() / 20
    torch.testing.assert_close(behavior.replay_value_loss(posteriors, batch, ends), wanted)


def test_the_ends_of_sequences_are_among_the_starts_of_dreams() -> None:
    agent, batch = tiny_agent(), filled_buffer(tiny_config()).sample()
    batch["is_last"][:] = False
    batch["is_last"][-1, 2] = True
    _, posteriors, _ = agent.world_model.compute_loss(batch, None, noise_source())
    start = agent.world_model.get_start_states(posteriors, batch, 7, noise_source())
    assert set(start["place"][:3].tolist()) == {20, 21, 23} and len(set(start["place"].tolist())) == 7
    assert torch.equal(start["h"], posteriors["h"].detach().flatten(0, 1)[start["place"]])

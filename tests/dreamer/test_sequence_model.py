import pytest
import torch

from dreamer.networks import initialize
from dreamer.sequence_model import SequenceModel, features
from tests.dreamer.tiny import noise_source, tiny_config

KINDS = pytest.mark.parametrize("kind", ["dreamerv3", "seed"])


def make_model(kind: str = "dreamerv3", **loss: float) -> SequenceModel:
    config = tiny_config(model={"kind": kind}, loss=loss)
    model = SequenceModel(config.model, config.loss, action_size=2)
    initialize(model, noise_source(1))
    return model


def sequences(time: int = 7, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = noise_source(2)
    embeds = torch.randn(time, batch, 16, generator=random)
    actions = torch.rand(time, batch, 2, generator=random)
    return embeds, actions, torch.zeros(time, batch, dtype=torch.bool)


@KINDS
def test_shapes_and_keys_of_states(kind: str) -> None:
    model = make_model(kind)
    state = model.initial(3)
    posterior, prior = model.posterior_step(state, torch.zeros(3, 2), torch.zeros(3, 16), torch.ones(3).bool())
    size = 16 if kind == "dreamerv3" else 64
    for reached in (posterior, prior, model.prior_step(state, torch.zeros(3, 2))):
        assert reached["h"].shape == (3, 16) and reached["z"].shape == (3, size)
        assert reached.keys() - {"h", "z"} == ({"logits"} if kind == "dreamerv3" else {"mean", "std"})
    assert features(posterior).shape == (3, 16 + size)


def test_is_first_forgets_state_and_action_in_the_middle_of_a_sequence() -> None:
    model = make_model()
    embeds, actions, is_first = sequences()
    is_first[4, 1] = True
    whole, _ = model.observe_sequence(embeds, actions, is_first, None)
    fresh, _ = model.observe_sequence(embeds[4:5], torch.zeros(1, 3, 2), torch.ones(1, 3).bool(), None)
    torch.testing.assert_close(whole["h"][4, 1], fresh["h"][0, 1])
    torch.testing.assert_close(whole["logits"][4, 1], fresh["logits"][0, 1])
    assert not torch.allclose(whole["h"][4, 0], fresh["h"][0, 0])  # the other rows remember


def test_context_continues_a_sequence() -> None:
    model = make_model()
    embeds, actions, is_first = sequences()
    random = noise_source()
    first, _ = model.observe_sequence(embeds[:4], actions[:4], is_first[:4], None, random)
    context = {key: first[key][-1] for key in ("h", "z")}
    second, _ = model.observe_sequence(embeds[4:], actions[4:], is_first[4:], context, random)
    whole, _ = model.observe_sequence(embeds, actions, is_first, None, noise_source())
    torch.testing.assert_close(second["h"], whole["h"][4:])


class FixedPolicy:
    """A policy that always pushes right, and remembers the features it was shown."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor) -> "FixedPolicy":
        self.seen.append(x)
        return self

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.ones(len(self.seen[-1]), 2)


@KINDS
def test_the_dream_uses_the_prior_only(kind: str) -> None:
    model = make_model(kind)
    start, policy = model.initial(3), FixedPolicy()
    states, actions = model.imagine_sequence(policy, start, 5, noise_source())
    assert states["h"].shape == (6, 3, 16) and actions.shape == (5, 3, 2)
    random, state = noise_source(), start
    for t in range(5):
        torch.testing.assert_close(policy.seen[t], features(state))
        state = model.prior_step(state, torch.ones(3, 2), random)
        torch.testing.assert_close(states["z"][t + 1], state["z"])
    for parameter in model.posterior_net.parameters():
        parameter.data.fill_(float("nan"))  # whatever touches the posterior now would show
    again, _ = model.imagine_sequence(FixedPolicy(), start, 5, noise_source())
    torch.testing.assert_close(again["z"], states["z"])


class ChancePolicy(FixedPolicy):
    """A policy whose actions are chance."""

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.rand(len(self.seen[-1]), 2, generator=generator)


@KINDS
def test_siblings_part_by_their_actions_alone(kind: str) -> None:
    model, random = make_model(kind), noise_source(6)
    start = {"h": torch.randn(4, 16, generator=random), "z": torch.randn(4, model.latent_size, generator=random)}
    same, _ = model.imagine_sequence(FixedPolicy(), start, 5, noise_source(), siblings=3)
    one, two, three = features(same).chunk(3, dim=1)
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(one, three)
    other, actions = model.imagine_sequence(ChancePolicy(), start, 5, noise_source(), siblings=3)
    one, two, _ = features(other).chunk(3, dim=1)
    assert torch.equal(one[0], two[0]) and not torch.equal(*actions.chunk(3, dim=1)[:2])
    assert (one[1:] - two[1:]).abs().max() > 1e-3


def kl_gradients(kind: str, **loss: float) -> tuple[float, float]:
    """Sizes of the KL loss's gradient at the posterior's and at the prior's network."""
    model = make_model(kind, **loss)
    posteriors, priors = model.observe_sequence(*sequences(), None, noise_source())
    posteriors, priors = ({**s, "h": s["h"].detach()} for s in (posteriors, priors))
    model.kl_loss(posteriors, priors)[0].mean().backward()

    def size(net: torch.nn.Module) -> float:
        return sum(float(p.grad.abs().sum()) for p in net.parameters() if p.grad is not None)

    return size(model.posterior_net), size(model.prior_net)


def test_free_nats_end_the_gradient_of_the_kl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreamer.sequence_model.FREE_NATS", 0.0)
    assert min(kl_gradients("dreamerv3")) > 0
    monkeypatch.setattr("dreamer.sequence_model.FREE_NATS", 1e3)
    assert kl_gradients("dreamerv3") == (0.0, 0.0)


def test_each_side_of_the_kl_has_its_own_weight_and_that_of_the_seed_is_one() -> None:
    both, _ = kl_gradients("seed", kl_representation=0.02)
    twice = kl_gradients("seed", kl_representation=0.04)
    assert twice[0] == pytest.approx(2 * both, rel=1e-4) and min(both, twice[1]) > 0
    assert kl_gradients("seed", kl_representation=0.0) == (0.0, 0.0)
    dynamics_only = make_model(kl_representation=0.0)
    logits = (9.0 * torch.randn(1, 1, 4, 4, generator=noise_source())).requires_grad_()
    prior_logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    dynamics_only.kl_loss({"logits": logits}, {"logits": prior_logits})[0].sum().backward()
    assert logits.grad is not None and logits.grad.eq(0).all()
    assert prior_logits.grad is not None and prior_logits.grad.abs().sum() > 0

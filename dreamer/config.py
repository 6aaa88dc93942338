"""The settings of the mind, one model per section of config.toml, where every field is explained.

A ``ClassVar`` or property of a section is what nobody should change; some of them were settings in earlier versions.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, model_validator
from pydantic_core import PydanticCustomError

from dreamer.strict import Strict

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]  # of a loss, as its values are far from the end of float32
Rate = Annotated[float, Field(gt=0.0, le=1.0)]  # LaProp and Adam move a weight by about this much per update
Updates = Annotated[int, Field(ge=0, le=10**9)]
Size = Annotated[int, Field(ge=1, le=10**9)]
Width = Annotated[int, Field(ge=1, le=4096)]  # a model of such layers still fits into a common machine's memory
Few = Annotated[int, Field(ge=1, le=256)]


class Section(Strict):
    """A section of config.toml.

    What was a setting once is read as long as it says what holds today: ``former`` names it, as an attribute of the
    section, and ``gone`` with the value that is left where the code for any other is gone.
    """

    former: ClassVar[tuple[str, ...]] = ()
    gone: ClassVar[dict[str, Any]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _without_former(cls, given: Any, handler: ModelWrapValidatorHandler["Section"]) -> "Section":
        names = {*cls.former, *cls.gone}
        if not isinstance(given, dict) or not names & given.keys():
            return handler(given)
        section = handler({key: value for key, value in given.items() if key not in names})
        for name in sorted(names & given.keys()):
            today = cls.gone[name] if name in cls.gone else getattr(section, name)
            if given[name] != today:
                raise PydanticCustomError(
                    "former_setting",
                    "{key} was a setting until version 0.3 and is fixed at {today} now",
                    {"key": name, "today": str(today).lower() if isinstance(today, bool) else today},
                )
        return section


class ModelConfig(Section):
    """Sizes and kinds of the networks."""

    hidden: Width = 192
    latent: Literal["categorical", "gaussian"] = "categorical"
    groups: Few = 16
    classes: Annotated[int, Field(ge=2, le=256)] = 8
    gaussian_size: Width = 64
    units: Width = 128
    norm: Literal["rms", "none"] = "rms"
    normalize: bool = True
    observed: bool = True

    layers: ClassVar[int] = 2
    """Of the encoder, the decoder, the policy, the reward and the value; the seed document has as many."""
    unimix: ClassVar[float] = 0.01
    """Share of a uniform distribution in categorical latents and actors (DreamerV3): no KL and no log is endless."""
    gaussian_min_std: ClassVar[float] = 0.1
    """Smallest deviation of a Gaussian latent; it bounds the KL, whose inverse square it is."""
    former = ("layers", "unimix", "gaussian_min_std", "embedding", "head_units", "activation")
    gone: ClassVar[dict[str, Any]] = {"input_constant": False, "input_waves": 0}

    @property
    def embedding(self) -> int:
        """Size of the encoder's output: every layer is as wide."""
        return self.units

    @property
    def head_units(self) -> int:
        """Width of the reward, continue, policy and value layers."""
        return self.units

    @property
    def activation(self) -> Literal["silu", "elu"]:
        """SiLU belongs to normalised layers, as in DreamerV3; ELU is the seed document's."""
        return "silu" if self.norm == "rms" else "elu"


class LossConfig(Section):
    """What the world model minimises."""

    decoder: Literal["gaussian", "mse"] = "gaussian"
    heads: Literal["twohot", "mse"] = "twohot"
    kl_dynamics: Weight = 1.0
    kl_representation: Weight = 0.1
    free_nats: Weight = 1.0
    overshooting: Annotated[int, Field(ge=0, le=256)] = 7
    overshooting_weight: Weight = 0.1

    decoder_min_std: ClassVar[float] = 0.01
    """Smallest deviation of the Gaussian decoder in units of the normalised observation: less than play can use."""
    bins: ClassVar[int] = 63
    """Of the two-hot heads; odd, so that the one in the middle stands at 0."""
    bin_limit: ClassVar[float] = 4.0
    """The outermost bins stand at symexp(+-limit), which is +-53: far beyond a goal of 10."""
    former = ("decoder_min_std", "bins", "bin_limit")


class BehaviorConfig(Section):
    """How the actor and the critic learn from the dream."""

    actor: Literal["categorical", "tanh_normal"] = "categorical"
    action_values: Annotated[tuple[float, ...], Field(min_length=2, max_length=256, strict=False)] = (-1.0, 0.0, 1.0)
    horizon: Few = 15
    lookahead: Annotated[int, Field(ge=0, le=256)] = 5
    starts: Annotated[int, Field(ge=1, le=65_536)] = 256
    siblings: Few = 2
    discount: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.99
    lambda_: Share = Field(default=0.95, alias="lambda")
    entropy: Weight = 6e-4
    return_scale: Literal["percentile", "none"] = "percentile"
    slow_target: bool = False
    replay_value: Weight = 0.3

    model_config = ConfigDict(populate_by_name=True)
    min_std: ClassVar[float] = 0.1
    """Smallest deviation of a tanh_normal actor; if tiny, entropy pushes to determinism."""
    max_std: ClassVar[float] = 1.0
    """Largest deviation of a tanh_normal actor: beyond it only the bounds are drawn."""
    slow_rate: ClassVar[float] = 0.02
    """Share of the critic that flows into its slow copy in each update, as in DreamerV3."""
    former = ("min_std", "max_std", "slow_rate", "slow_regularization")

    @property
    def slow_regularization(self) -> float:
        """Weight of the term that keeps the critic near its slow copy, where that is not the target itself."""
        return 0.0 if self.slow_target else 1.0

    @model_validator(mode="after")
    def _check(self) -> "BehaviorConfig":
        if any(abs(value) > 1.0 for value in self.action_values):
            raise ValueError("action_values must lie in [-1, 1]")
        if list(self.action_values) != sorted(set(self.action_values)):
            raise ValueError("action_values must rise from one to the next")
        if self.lookahead >= self.horizon:
            raise ValueError("lookahead must be smaller than horizon")
        if self.starts % self.siblings:
            raise ValueError("starts must be a multiple of siblings")
        return self


class OptimizerConfig(Section):
    """How gradients become steps."""

    kind: Literal["laprop", "adam"] = "laprop"
    world_rate: Rate = 1.2e-3
    actor_rate: Rate = 3e-4
    critic_rate: Rate = 3e-4
    warmup: Updates = 500
    average_share: Share = 0.125
    decay_after: Updates = 4000

    clip: ClassVar[float] = 0.3
    """Largest norm of gradient / weight (AGC), as in DreamerV3."""
    beta1: ClassVar[float] = 0.9
    beta2: ClassVar[float] = 0.99
    """Decay of the means of gradients and of their squares; 0.99 forgets a former scale within hundreds of updates."""
    former = ("clip", "beta1", "beta2", "epsilon", "deviation_rate")

    @property
    def epsilon(self) -> float:
        """Added to the root of the squared gradients: LaProp's momentum bears a tiny one (its authors'), Adam's not."""
        return 1e-20 if self.kind == "laprop" else 1e-8

    @property
    def deviation_rate(self) -> float:
        """Learning rate of the decoder's deviations; higher ones foresee fewer goals (docs/learning.md)."""
        return self.world_rate


class ReplayConfig(Section):
    """What is remembered and how it is replayed."""

    capacity: Size = 4_000_000
    batch_size: Width = 64
    sequence_length: Annotated[int, Field(ge=2, le=1024)] = 8
    context: Literal["stream", "zero"] = "stream"

    gone: ClassVar[dict[str, Any]] = {"end_share": 0.0, "mirror": True}


class DreamerConfig(Section):
    """Everything the agent is made from."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    behavior: BehaviorConfig = BehaviorConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    replay: ReplayConfig = ReplayConfig()

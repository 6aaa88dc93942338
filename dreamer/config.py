"""The settings of the mind, one model per section of config.toml, where every field is explained.

A ``ClassVar`` or property of a section is what nobody should change; some of them were settings in earlier versions
(dreamer/former.py).
"""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from dreamer.strict import Strict

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]  # of a loss, as its values are far from the end of float32
Rate = Annotated[float, Field(gt=0.0, le=1.0)]  # LaProp and Adam move a weight by about this much per update
Updates = Annotated[int, Field(ge=0, le=10**9)]
Size = Annotated[int, Field(ge=1, le=10**9)]
Width = Annotated[int, Field(ge=1, le=4096)]  # a model of such layers still fits into a common machine's memory
Few = Annotated[int, Field(ge=1, le=256)]


class Section(Strict):
    """A section of config.toml."""


class ModelConfig(Section):
    """Kind and sizes of the networks."""

    kind: Literal["dreamerv3", "seed"] = "dreamerv3"
    hidden: Width = 192
    groups: Few = 16
    classes: Annotated[int, Field(ge=2, le=256)] = 8
    units: Width = 128
    observed: bool = True
    prediction_width: Annotated[int, Field(ge=1, le=16)] = 2

    layers: ClassVar[int] = 2
    """Of the encoder, the decoder, the policy, the reward and the value; the seed document has as many."""
    unimix: ClassVar[float] = 0.01
    """Share of a uniform distribution in categorical latents and actors (DreamerV3): no KL and no log is endless."""
    gaussian_size: ClassVar[int] = 64
    """Of the Gaussian latent, as the seed document has it."""
    gaussian_min_std: ClassVar[float] = 0.1
    """Smallest deviation of a Gaussian latent; it bounds the KL, whose inverse square it is."""

    @property
    def memory_size(self) -> int:
        """Size of [h, z]."""
        return self.hidden + (self.gaussian_size if self.is_seed else self.groups * self.classes)

    @property
    def is_seed(self) -> bool:
        """Whether the agent is that of the seed document, without the later techniques of DreamerV3.

        ELU layers without norms on observations as they are, a Gaussian latent, squared errors, the plain KL,
        continuous actions, advantages as they are, returns bootstrapped with the slow critic. They go together: as
        settings of their own they were never changed apart, and nobody has measured a mixture.
        """
        return self.kind == "seed"


class LossConfig(Section):
    """What the world model minimises."""

    kl_representation: Weight = 0.1
    overshooting: Annotated[int, Field(ge=0, le=256)] = 7
    overshooting_weight: Weight = 0.1

    decoder_min_std: ClassVar[float] = 0.01
    """Smallest deviation of the Gaussian decoder in units of the normalised observation: less than play can use."""
    bins: ClassVar[int] = 63
    """Of the two-hot heads; odd, so that the one in the middle stands at 0."""
    bin_limit: ClassVar[float] = 4.0
    """The outermost bins stand at symexp(+-limit), which is +-53: far beyond a goal of 10."""


class BehaviorConfig(Section):
    """How the actor and the critic learn from the dream."""

    horizon: Few = 15
    lookahead: Annotated[int, Field(ge=0, le=256)] = 5
    starts: Annotated[int, Field(ge=1, le=65_536)] = 256
    siblings: Few = 2
    discount: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.99
    lambda_: Share = Field(default=0.95, alias="lambda")
    entropy: Weight = 6e-4
    replay_value: Weight = 0.3

    model_config = ConfigDict(populate_by_name=True)
    action_values: ClassVar[tuple[float, ...]] = (-1.0, 0.0, 1.0)
    """Of each number of a categorical action: at 50 actions a second their mean is what counts."""
    min_std: ClassVar[float] = 0.1
    """Smallest deviation of a tanh_normal actor; if tiny, entropy pushes to determinism."""
    max_std: ClassVar[float] = 1.0
    """Largest deviation of a tanh_normal actor: beyond it only the bounds are drawn."""
    slow_rate: ClassVar[float] = 0.02
    """Share of the critic that flows into its slow copy in each update, as in DreamerV3."""
    slow_regularization: ClassVar[float] = 1.0
    """Weight of the term that keeps the critic near its slow copy, where that is not the target itself (DreamerV3)."""

    @model_validator(mode="after")
    def _check(self) -> "BehaviorConfig":
        if self.lookahead >= self.horizon:
            raise ValueError(f"lookahead = {self.lookahead} must be smaller than horizon = {self.horizon}")
        if self.starts % self.siblings:
            raise ValueError(f"starts = {self.starts} must be a multiple of siblings = {self.siblings}")
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

    @property
    def epsilon(self) -> float:
        """Added to the root of the squared gradients: LaProp's momentum bears a tiny one (its authors'), Adam's not."""
        return 1e-20 if self.kind == "laprop" else 1e-8


class ReplayConfig(Section):
    """What is remembered and how it is replayed."""

    capacity: Size = 4_000_000
    batch_size: Width = 64
    sequence_length: Annotated[int, Field(ge=2, le=1024)] = 8
    context: Literal["stream", "zero"] = "stream"


class DreamerConfig(Section):
    """Everything the agent is made from."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    behavior: BehaviorConfig = BehaviorConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    replay: ReplayConfig = ReplayConfig()

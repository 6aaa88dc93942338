"""The settings of the mind, one model per section of config.toml. Every field is explained there."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1e6)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]  # of a loss, as its values are far from the end of float32
Deviation = Annotated[float, Field(ge=1e-6, le=1e3)]  # its square and that one's inverse are float32 too
Rate = Annotated[float, Field(gt=0.0, le=1.0)]  # LaProp and Adam move a weight by about this much per update
Updates = Annotated[int, Field(ge=0, le=10**9)]
Size = Annotated[int, Field(ge=1, le=10**9)]
Width = Annotated[int, Field(ge=1, le=4096)]  # a model of such layers still fits into a common machine's memory
Few = Annotated[int, Field(ge=1, le=256)]


class Section(BaseModel):
    """A section of config.toml: immutable; unknown keys, other types, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def without_retired(given: Any, retired: dict[str, Any]) -> Any:
    """``given`` without settings that are gone, each by its name with the only value that still can be read.

    Raises ValueError where another value was chosen, for what was made with it needs code that is gone.
    """
    if not isinstance(given, dict):
        return given
    for name, value in retired.items():
        if given.get(name, value) != value:
            raise ValueError(f"{name} = {given[name]} was made with version 0.2 or older, which alone can use it")
    return {key: value for key, value in given.items() if key not in retired}


class ModelConfig(Section):
    """Sizes and kinds of the networks."""

    hidden: Width = 192
    latent: Literal["categorical", "gaussian"] = "categorical"
    groups: Few = 16
    classes: Annotated[int, Field(ge=2, le=256)] = 8
    gaussian_size: Width = 64
    gaussian_min_std: Deviation = 0.1
    embedding: Width = 128
    units: Width = 128
    layers: Few = 2
    head_units: Width = 128
    norm: Literal["rms", "none"] = "rms"
    activation: Literal["silu", "elu"] = "silu"
    unimix: Share = 0.01
    normalize: bool = True

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, given: Any) -> Any:
        return without_retired(given, {"input_constant": False, "input_waves": 0})


class LossConfig(Section):
    """What the world model minimises."""

    decoder: Literal["gaussian", "mse"] = "gaussian"
    decoder_min_std: Deviation = 0.01
    heads: Literal["twohot", "mse"] = "twohot"
    bins: Annotated[int, Field(ge=3, le=8191)] = 63
    bin_limit: Annotated[float, Field(gt=0.0, le=80.0)] = 4.0  # its exponential is a float32
    kl_dynamics: Weight = 1.0
    kl_representation: Weight = 0.1
    free_nats: Weight = 1.0

    @model_validator(mode="after")
    def _check(self) -> "LossConfig":
        if self.bins % 2 == 0:
            raise ValueError("bins must be odd, so that the middle bin is zero")
        return self


class BehaviorConfig(Section):
    """How the actor and the critic learn from the dream."""

    actor: Literal["categorical", "tanh_normal"] = "categorical"
    action_values: Annotated[tuple[float, ...], Field(min_length=2, max_length=256, strict=False)] = (-1.0, 0.0, 1.0)
    min_std: Deviation = 0.1
    max_std: Deviation = 1.0
    horizon: Few = 15
    lookahead: Annotated[int, Field(ge=0, le=256)] = 5
    starts: Annotated[int, Field(ge=1, le=65_536)] = 256
    siblings: Few = 2
    discount: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.99
    lambda_: Share = Field(default=0.95, alias="lambda")
    entropy: Weight = 6e-4
    return_scale: Literal["percentile", "none"] = "percentile"
    slow_rate: Share = 0.02
    slow_target: bool = False
    slow_regularization: Weight = 1.0
    replay_value: Weight = 0.3

    model_config = ConfigDict(populate_by_name=True)

    @model_validator(mode="after")
    def _check(self) -> "BehaviorConfig":
        if self.min_std >= self.max_std:
            raise ValueError("min_std must be smaller than max_std")
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
    deviation_rate: Rate = 1.2e-3
    actor_rate: Rate = 3e-4
    critic_rate: Rate = 3e-4
    clip: Weight = 0.3
    warmup: Updates = 500
    average_share: Share = 0.125
    decay_after: Updates = 4000
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    beta2: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    epsilon: Positive = 1e-20


class ReplayConfig(Section):
    """What is remembered and how it is replayed."""

    capacity: Size = 4_000_000
    batch_size: Width = 64
    sequence_length: Annotated[int, Field(ge=2, le=1024)] = 8
    context: Literal["stream", "zero"] = "stream"
    mirror: bool = True

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, given: Any) -> Any:
        return without_retired(given, {"end_share": 0.0})


class DreamerConfig(Section):
    """Everything the agent is made from."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    behavior: BehaviorConfig = BehaviorConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    replay: ReplayConfig = ReplayConfig()

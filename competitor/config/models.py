"""Every setting of a run: names, types and bounds. config.toml is the one place where a default stands."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import tomli_w
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dreamer.config import (
    BehaviorConfig,
    DreamerConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ReplayConfig,
    Section,
    Share,
    Weight,
)

SELF, PAST = "self", "past"
"""Opponents in training that no other command knows: the learner as it is now, and its past selves."""
MOST_RINKS = 4096  # each keeps the round in play from both sides: 60 kB
MOST_STEPS = 10**15
MOST_S = 86_400.0
MOST_WARMUP = 100_000  # rounds; they are all kept in memory

Signed = Annotated[float, Field(ge=-1e6, le=1e6)]
Rinks = Annotated[int, Field(ge=1, le=MOST_RINKS)]
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]
Seconds = Annotated[float, Field(gt=0.0, le=MOST_S)]
Minutes = Annotated[float, Field(ge=0.0, le=1e7)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class RunConfig(Section):
    """[run]: what holds for the whole process."""

    seed: Seed
    threads: int = Field(ge=0, le=1024)
    device: Literal["auto", "cpu", "cuda"]
    kernels: Literal["auto", "bfloat16", "native", "plain"]
    logger: Literal["tensorboard", "wandb"]

    @model_validator(mode="after")
    def _kernels_fit(self) -> RunConfig:
        if self.kernels in ("bfloat16", "native") and self.device == "cuda":
            raise ValueError(f'kernels "{self.kernels}" are for the CPU; choose "auto" or "plain"')
        return self


class RinkConfig(Section):
    """[rink]: the game itself."""

    engine: Literal["builtin", "hockey"]
    keep_mode: bool


class RewardWeights(Section):
    """[reward]: weights of what the environment reports, summed up to the reward that is learned from."""

    goal: Signed = 10.0
    closeness: Signed = 0.0
    touch: Signed = 0.0
    direction: Signed = 0.0

    def rewards(self, info: NDArray[np.float64]) -> NDArray[np.float32]:
        """The rewards (steps,) of one view's info (steps, 4: closeness, touch, direction, winner)."""
        rewards: NDArray[np.float64] = info @ np.array([self.closeness, self.touch, self.direction, 0.0])
        rewards[-1] += self.goal * info[-1, 3]
        return rewards.astype(np.float32)


class TrainingConfig(Section):
    """[training]: how much is played, learned, evaluated and saved."""

    rinks: Rinks
    environment_steps: Steps
    minutes: Minutes
    train_ratio: Annotated[float, Field(gt=0.0, le=1e4)]
    overlap: bool
    warmup_rounds: Annotated[int, Field(ge=1, le=MOST_WARMUP)]
    lesson_rounds: Annotated[int, Field(ge=0, le=MOST_WARMUP)]
    teacher: str
    prelude_updates: Annotated[int, Field(ge=0, le=10**9)]
    evaluate_every_steps: Steps
    evaluate_rounds: Annotated[int, Field(ge=1, le=100_000)]
    checkpoint_every_minutes: Annotated[float, Field(gt=0.0, le=1e7)]

    shooting_share: ClassVar[Share] = 0.05
    """Of TRAIN_SHOOTING rounds: short; one shoots, one saves, sides alternate. A few keep both skills in the replay."""
    defense_share: ClassVar[Share] = 0.05
    """Of TRAIN_DEFENSE rounds: short; a shot flies already, sides alternate."""


class LeagueConfig(Section):
    """[league]: who is played against while training."""

    opponents: dict[Annotated[str, Field(min_length=1)], Weight]
    snapshot_every_steps: Steps
    pool_size: Annotated[int, Field(ge=1, le=1000)]
    entry_basic: Share
    entry_newest: Share

    @model_validator(mode="after")
    def _someone_to_play(self) -> LeagueConfig:
        if not any(name != PAST for name in self.shares):
            raise ValueError(f"at least one of the opponents besides {PAST!r} must have a share above 0")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The opponents that are met, with their shares; only their proportions count."""
        return {name: share for name, share in self.opponents.items() if share > 0.0}


class CompeteConfig(Section):
    """[compete]: how the daemon plays on a tournament server."""

    deterministic: bool
    deadline_s: float = Field(gt=0.0, lt=10.0)  # comprl's server waits 10 s
    attempts: int = Field(ge=0, le=10**9)

    stuck_after_s: ClassVar[float] = 45.0
    """Without a message within a match after which it is given up: a server gives a player 10 s for each step."""
    retry_first_s: ClassVar[float] = 1.0
    """Before the first attempt to connect again; the wait doubles, with chance: a restart takes seconds."""
    retry_most_s: ClassVar[float] = 60.0
    """Between two attempts at most: whoever comes back after a night waits no longer for its matches."""


class ArenaConfig(Section):
    """[arena]: the local tournament server."""

    rounds: Annotated[int, Field(ge=1, le=1000)]
    deadline_s: Seconds
    record_mib: Annotated[float, Field(ge=0, le=1e9)]
    record_days: Annotated[float, Field(ge=0, le=1e5)]

    tick_s: ClassVar[float] = 1.0
    """Between two looks for players who can be matched: nobody minds a second before a match."""


class Config(Section):
    """All sections of config.toml."""

    run: RunConfig
    rink: RinkConfig
    reward: RewardWeights
    training: TrainingConfig
    league: LeagueConfig
    compete: CompeteConfig
    arena: ArenaConfig
    model: ModelConfig
    loss: LossConfig
    behavior: BehaviorConfig
    optimizer: OptimizerConfig
    replay: ReplayConfig

    @property
    def dreamer(self) -> DreamerConfig:
        """The part that the agent is built from."""
        return DreamerConfig(**{name: getattr(self, name) for name in DreamerConfig.model_fields})

    def to_toml(self) -> str:
        """The settings as TOML text that `load_config` reads back equal."""
        return tomli_w.dumps(self.model_dump(mode="json", by_alias=True))

"""The plain values of a save (trainer.json), checked for type and range before anything is built from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from competitor.errors import ResumeError
from competitor.train.league import Count, Member
from competitor.train.metrics import Averages
from dreamer.replay import GeneratorState
from dreamer.strict import Strict, first_problem

FORMAT = 1
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]


@dataclass
class Counters:
    """What has been done so far. `credit`: updates that collected steps have earned and are still due."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    environment_steps: Count = 0
    warmup_steps: Count = 0
    rounds: Count = 0
    skipped: Count = 0
    skipped_in_a_row: Count = 0
    credit: NotNegative = 0.0
    seconds: NotNegative = 0.0
    next_evaluation: Count = 0
    next_snapshot: Count = 0
    best_score: Finite | None = None
    best_steps: Count = 0
    low_kl_in_a_row: Count = 0
    evaluations: Count = 0


class Part(Strict):
    """A part of the file; keys of other versions are left out."""

    model_config = ConfigDict(extra="ignore")


class SavedLeague(Part):
    """What League.to_json gives."""

    rating: Finite
    opponents: list[Member] = Field(validation_alias=AliasChoices("opponents", "kinds"))  # "kinds" before 0.3
    members: list[Member]


class SavedMatchmaker(Part):
    """What Matchmaker.to_json gives."""

    turns: dict[str, Count]
    active: list[Name]
    rounds_since_draw: Count
    generator: GeneratorState


class SavedRound(Part):
    """Where a round in play is played and how it began, see RoundSetup."""

    rink: Count
    one_starting: bool
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    mode: Literal["NORMAL", "TRAIN_SHOOTING", "TRAIN_DEFENSE"]
    side: Annotated[int, Field(ge=0, le=1, validation_alias=AliasChoices("side", "seat"))]  # older saves: "seat"
    opponent: Name


class Facts(Part):
    """All of trainer.json."""

    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)]
    device: str = "cpu"
    counters: Counters
    league: SavedLeague
    matchmaker: SavedMatchmaker
    averages: Averages
    past: list[Name]
    rounds: list[SavedRound]

    @model_validator(mode="after")
    def _check(self) -> Facts:
        if not set(self.matchmaker.active) <= set(self.past):
            raise ValueError("an active past self is not among those of the past")
        if any(member.environment_steps > self.counters.environment_steps for member in self.league.members):
            raise ValueError("a member of the league is newer than the save")
        if any(count > 1 for count in Counter(played.rink for played in self.rounds).values()):
            raise ValueError("two rounds are played on one rink")
        return self


def read_facts(file: Path) -> Facts:
    """Read trainer.json. Raises ResumeError, which names the file, when it is missing, damaged or of another format."""
    try:
        text = file.read_bytes()
        found: Any = from_json(text)
        if isinstance(found, dict) and type(found.get("format")) is int and found["format"] != FORMAT:
            found_format = f"{found['format']!r:.20}"
            raise ResumeError(f"the run cannot be continued: {file} is of format {found_format}, not {FORMAT}")
        return Facts.model_validate_json(text)
    except OSError as error:
        raise ResumeError(f"the run cannot be continued: {file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ResumeError(f"the run cannot be continued: {file} is damaged: {first_problem(error)}") from error
    except ValueError as error:
        raise ResumeError(f"the run cannot be continued: {file} is damaged: it is not JSON") from error

"""The book of a population: who learns, who has become a member, and what has been measured.

::

    DIR/
      book.json             all of this module, written whole by the one process that runs the population
      config.toml           settings of every `train`
      newest.safetensors    the main agent as its last turn left it
      members/              frozen players, and the cards beside them
      runs/                 the learners' own runs, as `train` and `sparring train` keep them
      logs/                 what the last turn of each learner printed

A kill between two of these files costs the judgement of one turn at most: a learner's run is its own, and what is
not in the book yet is written again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from competitor.errors import ResumeError
from competitor.evaluate.cross_table import CrossTable
from competitor.evaluate.results import SprtReport
from competitor.options import written
from dreamer.files import atomic_write_text
from dreamer.strict import first_problem

BOOK = "book.json"
NEWEST = "newest.safetensors"
Role = Literal["main", "exploiter"]
Kind = Literal["dreamer", "sac"]
Count = Annotated[int, Field(ge=0, le=2**53)]
Minutes = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Points = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]


class Part(BaseModel):
    """Unknown keys, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, validate_assignment=True)


class Member(Part):
    """A frozen player. player: as `evaluate` takes it, seen from the population's directory.

    points: what it took from the newest main agent when they last met. is_met: the main agent trains against it.
    """

    name: Name
    role: Role
    player: Annotated[str, Field(min_length=1)]
    points: Points | None = None
    is_met: bool = True


class Learner(Part):
    """Somebody who learns: the main agent, or the present generation of an exploiter.

    begins_from: the member whose weights it began with; empty: none. minutes, turns: of this generation. failures:
    turns in a row that ended with an error.
    """

    name: Name
    role: Role
    kind: Kind = "dreamer"
    generation: Count = 1
    begins_from: str = ""
    minutes: Minutes = 0.0
    turns: Count = 0
    failures: Count = 0

    @property
    def run(self) -> str:
        """The name of its run: every generation has its own."""
        return self.name if self.role == "main" else f"{self.name}-{self.generation}"


class Trial(Part):
    """A main agent tried against the champion. held_out: its points from the partners that are held out."""

    challenger: Name
    champion: Name
    points: Points
    rounds: Count
    test: SprtReport
    held_out: Points | None = None
    is_promoted: bool


class Book(Part):
    """All that a population knows."""

    format: Literal[1] = 1
    learners: list[Learner]
    members: list[Member] = []
    champion: str = ""
    trials: list[Trial] = []
    table: CrossTable | None = None

    @property
    def main(self) -> Learner:
        return next(learner for learner in self.learners if learner.role == "main")

    def member(self, name: str) -> Member | None:
        return next((member for member in self.members if member.name == name), None)

    def enter(self, member: Member) -> None:
        """Take in a member; one of the same name, which a kill has left, goes."""
        self.members = [*(other for other in self.members if other.name != member.name), member]

    def of(self, role: Role) -> list[Member]:
        """The members of a role, the oldest first."""
        return [member for member in self.members if member.role == role]

    @staticmethod
    def exists(directory: Path) -> bool:
        return os.path.isfile(directory / BOOK)

    @classmethod
    def read(cls, directory: Path) -> Book:
        """Read the book. Raises ResumeError, which names the file, when there is none or it is damaged."""
        file = directory / BOOK
        try:
            book = cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            raise ResumeError(f"{directory} holds no population: it has no {BOOK}") from None
        except OSError as error:
            raise ResumeError(f"{file} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            if error.errors()[0]["loc"] == ("format",):
                raise ResumeError(f"{file} has another format than this version of the program reads") from None
            raise ResumeError(f"{file} is damaged: {first_problem(error)}") from None
        if [learner.name for learner in book.learners if learner.role == "main"] != ["main"]:
            raise ResumeError(f"{file} is damaged: it does not name one main agent")
        if len({learner.name for learner in book.learners}) < len(book.learners):
            raise ResumeError(f"{file} is damaged: two learners have the same name")
        if book.champion and book.member(book.champion) is None:
            raise ResumeError(f"{file} is damaged: its champion {book.champion} is no member")
        return book

    def write(self, directory: Path) -> None:
        """Write the book whole or not at all. Raises StorageError."""
        with written(directory / BOOK):
            atomic_write_text(directory / BOOK, self.model_dump_json(indent=1) + "\n")

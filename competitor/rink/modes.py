"""The three kinds of rounds."""

from __future__ import annotations

from enum import Enum

from competitor.rink.constants import NORMAL_LIMIT, TRAINING_LIMIT


class Mode(Enum):
    """NORMAL is the game; the training modes are short rounds of one situation."""

    NORMAL = 0
    TRAIN_SHOOTING = 1
    TRAIN_DEFENSE = 2

    @property
    def limit(self) -> int:
        """Value of the step counter at which a round of this mode ends."""
        return NORMAL_LIMIT if self is Mode.NORMAL else TRAINING_LIMIT

    @classmethod
    def parse(cls, value: Mode | str | int) -> Mode:
        """The mode given as a member, a name or a number.

        Raises ValueError for anything else.
        """
        if isinstance(value, Enum):  # also the course package's own Mode
            value = value.value
        try:
            return cls[value] if isinstance(value, str) else cls(value)
        except (KeyError, ValueError):
            names = ", ".join(f"{mode.name} ({mode.value})" for mode in cls)
            raise ValueError(f"unknown mode {value!r}: expected one of {names}") from None

"""A finished match as plain values: what the session hands to the records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Ending = Literal["played", "opponent left", "abandoned"]
Result = Literal["W", "D", "L"]


@dataclass(frozen=True)
class FinishedMatch:
    """One match from start to end; rows are steps, times are unix seconds."""

    match_id: str
    wire: str  # "comprl" or "websocket"
    server: str
    link: str  # name of the connection
    opponent: str | None
    started_at: float
    ended_at: float
    own: int  # score; 0 to 0 and without meaning for an abandoned match
    other: int
    rounds: int  # as many as a whole match has
    ending: Ending
    reason: str  # why it was abandoned, else ""
    checkpoint: str  # as given by the user
    digest: str  # sha256 of the weights
    rating: float | None  # after the match, where the server tells it
    obs: NDArray[np.float64]  # (T, 18) as received, NaN included
    actions: NDArray[np.float64]  # (T, 4) as sent
    is_first: NDArray[np.bool_]  # (T,) a round starts here
    source: NDArray[np.uint8]  # (T,) a competitor.engine.session.Source
    latency_ms: NDArray[np.float32]  # (T,)

    @property
    def result(self) -> Result:
        """Won, drawn or lost by the score."""
        return "W" if self.own > self.other else "L" if self.own < self.other else "D"


class Keeper(Protocol):
    """Keeps finished matches (competitor.daemon.records)."""

    def keep(self, match: FinishedMatch, saved: Callable[[], None]) -> None:
        """Return at once; call `saved` from another thread when the match is on the disk, or cannot be."""

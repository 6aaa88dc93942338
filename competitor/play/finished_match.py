"""A finished match as plain values: its facts, declared here once for files, tables and pages, and its steps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, ConfigDict, Field

Ending = Literal["played", "opponent left", "abandoned"]
Result = Literal["W", "D", "L"]
Time = Annotated[float, Field(ge=0.0, lt=253_402_200_000.0)]  # unix seconds, in the year 9999 in any time zone
Count = Annotated[int, Field(ge=0, lt=2**63)]  # what a database holds
# Files of earlier versions say "link".
Connection = Annotated[str, Field(validation_alias=AliasChoices("connection", "link"))]


@dataclass(frozen=True, kw_only=True)
class MatchFacts:
    """What there is to say about a match besides its steps."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    match_id: str
    wire: str  # "comprl" or "websocket"
    server: str
    connection: Connection
    opponent: str | None
    started_at: Time
    ended_at: Time
    own: Count  # rounds won; of an abandoned match those that are known, see inferred
    other: Count
    rounds: Count  # as many as a whole match has
    ending: Ending
    reason: str  # why it was abandoned, else ""
    checkpoint: str  # as given by the user
    digest: str  # sha256 of the weights
    rating: float | None  # after the match, where the server tells it
    account: str = ""  # what the daemon calls it: the name of its token's file; "" where it has none
    inferred: bool = False  # the score was found in the observations: the server never sent it


@dataclass(frozen=True, kw_only=True)
class FinishedMatch(MatchFacts):
    """One match from start to end; rows are steps."""

    obs: NDArray[np.float64]  # (T, 18) as received, NaN included
    actions: NDArray[np.float64]  # (T, 4) as sent
    is_first: NDArray[np.bool_]  # (T,) a round starts here
    source: NDArray[np.uint8]  # (T,) a competitor.engine.session.Source
    latency_ms: NDArray[np.float32]  # (T,)
    opponent_actions: NDArray[np.float64] | None = None  # (T, 4) in the opponent's frame; only the arena knows them

    @property
    def result(self) -> Result:
        """Won, drawn or lost by the score."""
        return "W" if self.own > self.other else "L" if self.own < self.other else "D"


class Keeper(Protocol):
    """Keeps finished matches (competitor.daemon.records)."""

    def keep(self, match: FinishedMatch, saved: Callable[[], None]) -> None:
        """Return at once; call `saved` from another thread when the match is on the disk, or cannot be."""

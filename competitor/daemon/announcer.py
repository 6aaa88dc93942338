"""Results on the console: each match in a line, and how all of them went."""

import logging
from collections import Counter
from collections.abc import Callable

from competitor.daemon.logs import CONSOLE
from competitor.play.finished_match import FinishedMatch, Keeper
from competitor.screen import match_count

WORDS = {"W": "won", "D": "drew", "L": "lost"}

console = logging.getLogger(CONSOLE)


class Announcer:
    """A Keeper before the keeper: tells of each match as soon as it is kept."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.results: Counter[str] = Counter()
        self.not_played = 0

    def keep(self, match: FinishedMatch, saved: Callable[[], None]) -> None:
        """Hand the match on, and say how it went when it is safe on the disk. Returns at once."""
        if match.ending == "played":
            self.results[match.result] += 1
        else:
            self.not_played += 1
        line = self._line(match)

        def tell() -> None:
            console.info("%s", line)
            saved()

        self._keeper.keep(match, tell)

    @property
    def tally(self) -> str:
        """For example `W 3 D 0 L 1`."""
        return " ".join(f"{result} {self.results[result]}" for result in WORDS)

    @property
    def summary(self) -> str:
        """How all matches went, for the end."""
        more = f", {self.not_played} not played to the end" if self.not_played else ""
        return f"{match_count(self.results.total())} played ({self.tally}){more}"

    def _line(self, match: FinishedMatch) -> str:
        score, steps = f"{match.own}:{match.other}", len(match.obs)
        against = f"match against {match.opponent}" if match.opponent else f"match {match.match_id[:8]}"
        if match.ending == "abandoned":
            return f"{against}: given up after {steps} steps: {match.reason}"
        said = f"{WORDS[match.result]} {score}" if match.ending == "played" else f"the opponent left at {score}"
        rating = "" if match.rating is None else f", rating {match.rating:.1f}"
        return f"{against}: {said} in {steps} steps{rating} ({self.tally})"

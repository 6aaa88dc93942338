"""Everybody against everybody, and one rating for all: the yardstick for a handful of checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from competitor.evaluate import statistics
from competitor.evaluate.evaluation import REPORT_FORMAT, RINKS, evaluate, policy_of
from competitor.evaluate.results import OpponentResult
from competitor.players import Player
from competitor.screen import Count, uncounted


@dataclass(frozen=True)
class Standing:
    """One line of a cross table: Bradley-Terry rating in Elo (the table's mean is 0) and its 95 % error."""

    name: str
    rating: float
    error95: float
    rounds: int
    score: float


@dataclass(frozen=True)
class CrossTable:
    """Everybody against everybody: standings from best to worst, and the meetings they come from."""

    seed: int
    policy: str
    partial: bool
    standings: list[Standing]
    meetings: dict[str, dict[str, OpponentResult]]
    """meetings[a][b]: the result of a against b; each meeting stands once, under its first player."""
    format: int = REPORT_FORMAT


def cross_table(
    players: Mapping[str, Player],
    *,
    rounds: int,
    seed: int = 0,
    rinks: int = RINKS,
    engine: str = "builtin",
    keep_mode: bool = True,
    stops_early: bool = True,
    on_progress: Count = uncounted,
) -> CrossTable:
    """Play `rounds` paired rounds of every player against every other and rate them all together.

    Ctrl-C ends early with a table marked partial, or is raised unless `stops_early`. Raises PlayerError, EngineError.
    """
    names = list(players)
    meetings: dict[str, dict[str, OpponentResult]] = {}
    partial, before, total = False, 0, (rounds + rounds % 2) * len(names) * (len(names) - 1) // 2

    def shown(done: int, _: int) -> None:
        on_progress(before + done, total)

    for place, name in enumerate(names[:-1]):
        others = {other: players[other] for other in names[place + 1 :]}
        report = evaluate(
            players[name],
            others,
            rounds=rounds,
            seed=seed,
            rinks=rinks,
            engine=engine,
            keep_mode=keep_mode,
            stops_early=stops_early,
            on_progress=shown,
        )
        meetings[name] = {result.opponent: result for result in report.results if result.rounds}
        before += (rounds + rounds % 2) * len(others)
        if partial := report.partial:
            break
    return CrossTable(seed, policy_of(*players.values()), partial, _standings(names, meetings), meetings)


def _standings(names: list[str], meetings: Mapping[str, Mapping[str, OpponentResult]]) -> list[Standing]:
    rounds, points = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
    counts: dict[tuple[int, int], list[int]] = {}
    for one, other in combinations(names, 2):
        result = meetings.get(one, {}).get(other)
        if result is None:
            continue
        counts[names.index(one), names.index(other)] = result.pairs
        for name, score in ((one, result.score), (other, 1 - result.score)):
            rounds[name] += result.rounds
            points[name] += score * result.rounds
    ratings, errors = statistics.bradley_terry(counts, len(names))
    standings = [
        Standing(name, float(ratings[i]), float(errors[i]), rounds[name], points[name] / max(1, rounds[name]))
        for i, name in enumerate(names)
    ]
    return sorted(standings, key=lambda standing: -standing.rating)

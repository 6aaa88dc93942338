"""What is counted of rounds against one opponent, and what it amounts to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from competitor.evaluate import statistics
from competitor.evaluate.statistics import Sprt
from competitor.play.rounds import Round

LEFT, RIGHT = 0, 1


@dataclass(frozen=True)
class Tally:
    """Won, drawn and lost rounds."""

    wins: int = 0
    draws: int = 0
    losses: int = 0

    @property
    def rounds(self) -> int:
        return self.wins + self.draws + self.losses

    @property
    def score(self) -> float:
        """Points per round; a draw is half a point."""
        return (self.wins + self.draws / 2) / max(1, self.rounds)


@dataclass(frozen=True)
class Outcome:
    """What is kept of one finished round, from the player's side."""

    result: int
    steps: int
    side: int
    starting: bool

    @classmethod
    def of(cls, played: Round) -> Outcome:
        setup = played.setup
        return cls(played.result, played.steps, setup.side, setup.one_starting == (setup.side == LEFT))


@dataclass(frozen=True)
class SprtReport:
    """Where a sequential test stands: decision is "H1", "H0" or "open"."""

    elo0: float
    elo1: float
    alpha: float
    beta: float
    llr: float
    bounds: tuple[float, float]
    decision: str


@dataclass(frozen=True)
class OpponentResult:
    """Everything measured against one opponent. Only whole pairs count; errors are those of 95 % intervals.

    pairs: how many pairs scored [LL, LD, DD or WL, WD, WW]. score: points per round, a draw is half a point.
    elo and its relatives are explained in competitor.evaluate.statistics.
    """

    opponent: str
    rounds: int
    wins: int
    draws: int
    losses: int
    win_rate: float
    ci95: tuple[float, float]
    score: float
    goals_for: int
    goals_against: int
    mean_steps: float
    elo: float
    elo_error95: float
    normalised_elo: float
    normalised_elo_error95: float
    los: float
    pairs: list[int]
    terminations: dict[str, int]
    by_side: dict[str, Tally]
    by_starter: dict[str, Tally]
    sprt: SprtReport | None = None


@dataclass
class Meeting:
    """The outcomes against one opponent, in the order of the schedule, and the test that may end it early.

    Rounds end out of order, short ones first. Results are read off the unbroken row of whole pairs from the
    first on: so stopping early, by the test or by Ctrl-C, does not favour short rounds.
    """

    opponent: str
    rounds: int
    sprt: Sprt | None = None
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    counts: list[int] = field(default_factory=lambda: [0] * len(statistics.PAIR_SCORES))
    whole_pairs: int = 0
    decided: bool = False

    @property
    def complete(self) -> bool:
        return self.decided or 2 * self.whole_pairs == self.rounds

    def enter(self, number: int, outcome: Outcome) -> None:
        """Take in the outcome of round `number`; rounds after the test's decision do not count."""
        self.outcomes[number] = outcome
        while not self.complete and {2 * self.whole_pairs, 2 * self.whole_pairs + 1} <= self.outcomes.keys():
            first, second = self._pair(self.whole_pairs)
            self.counts[first.result + second.result + 2] += 1
            self.whole_pairs += 1
            self.decided = self.sprt is not None and self.sprt.decision(self.counts) != "open"

    def result(self) -> OpponentResult:
        """Return what the whole pairs say."""
        outcomes = [outcome for pair in range(self.whole_pairs) for outcome in self._pair(pair)]
        tally = tally_of(outcomes)
        rounds = max(1, tally.rounds)
        elo, elo_error = statistics.elo_with_error(self.counts)
        normalised, normalised_error = statistics.normalised_elo_with_error(self.counts)
        return OpponentResult(
            opponent=self.opponent,
            rounds=tally.rounds,
            wins=tally.wins,
            draws=tally.draws,
            losses=tally.losses,
            win_rate=tally.wins / rounds,
            ci95=statistics.paired_interval(self._pairs_by_wins()),
            score=tally.score,
            goals_for=tally.wins,
            goals_against=tally.losses,
            mean_steps=sum(outcome.steps for outcome in outcomes) / rounds,
            elo=elo,
            elo_error95=elo_error,
            normalised_elo=normalised,
            normalised_elo_error95=normalised_error,
            los=statistics.likelihood_of_superiority(self.counts),
            pairs=list(self.counts),
            terminations={"goal": tally.wins + tally.losses, "time": tally.draws},
            by_side={
                "left": tally_of([outcome for outcome in outcomes if outcome.side == LEFT]),
                "right": tally_of([outcome for outcome in outcomes if outcome.side == RIGHT]),
            },
            by_starter={
                "own": tally_of([outcome for outcome in outcomes if outcome.starting]),
                "other": tally_of([outcome for outcome in outcomes if not outcome.starting]),
            },
            sprt=self._sprt_report(),
        )

    def _pairs_by_wins(self) -> list[int]:
        """How many pairs had 0, 1 and 2 of their rounds won."""
        won = [sum(outcome.result > 0 for outcome in self._pair(pair)) for pair in range(self.whole_pairs)]
        return [won.count(number) for number in range(3)]

    def _pair(self, pair: int) -> tuple[Outcome, Outcome]:
        return self.outcomes[2 * pair], self.outcomes[2 * pair + 1]

    def _sprt_report(self) -> SprtReport | None:
        if self.sprt is None:
            return None
        ratio, decision = self.sprt.log_likelihood_ratio(self.counts), self.sprt.decision(self.counts)
        return SprtReport(**asdict(self.sprt), llr=ratio, bounds=self.sprt.bounds, decision=decision)


def tally_of(outcomes: list[Outcome]) -> Tally:
    results = [outcome.result for outcome in outcomes]
    return Tally(results.count(1), results.count(0), results.count(-1))

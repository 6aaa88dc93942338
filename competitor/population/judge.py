"""What a population measures: an exploiter's examination, the main agent's trial for the title, and reviews of all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from competitor.evaluate.cross_table import cross_table
from competitor.evaluate.evaluation import evaluate
from competitor.evaluate.results import OpponentResult
from competitor.evaluate.statistics import Sprt
from competitor.players import Player, make_player
from competitor.players.sparring import PREFIX, partner_names
from competitor.population.book import NEWEST, Book, Trial
from competitor.screen import Count

TEST = Sprt(elo0=0.0, elo1=40.0)
"""40 Elo are 56 % of the points: what a champion should gain before it is worth another name."""
TRIAL = 10  # times the rounds of an examination: a trial of players that are level is decided by then
RETIRED = 0.05  # share of the points below which a member has nothing left to teach the main agent
MOST_MET = 8  # members that the main agent meets at once
SEED = 77_208_131
"""Of all rounds here: nothing that is trained, and no command's default, plays these."""


class Judge:
    """Plays the matches that decide who enters, who is met and who is champion.

    directory: what paths of players start from. rounds: of an examination. on_progress: is told of every round; an
    exception of its ends the judgement.
    """

    def __init__(self, directory: Path, *, rounds: int, keep_mode: bool, on_progress: Count) -> None:
        self._directory, self._rounds, self._keep_mode = directory, rounds, keep_mode
        self._how: dict[str, Any] = dict(seed=SEED, keep_mode=keep_mode, stops_early=False, on_progress=on_progress)

    def points(self, player: str, opponents: Mapping[str, str], rounds: int = 0) -> dict[str, float]:
        """The points that `player` takes from opponents by name, as shares."""
        results = self._play(player, opponents, rounds or self._rounds)
        return {name: result.score for name, result in results.items()}

    def trial(self, challenger: str, book: Book) -> Trial:
        """Whether the newest main agent, to be called `challenger`, is better than the champion.

        It is promoted when the sequential test says so and it takes no fewer points from the held-out partners.
        """
        champion = book.member(book.champion)
        assert champion is not None
        result = self._play(NEWEST, {champion.name: champion.player}, TRIAL * self._rounds, TEST)[champion.name]
        assert result.sprt is not None
        own, theirs = None, None
        if result.sprt.decision == "H1":
            own, theirs = self._held_out(NEWEST), self._held_out(champion.player)
        return Trial(
            challenger=challenger,
            champion=champion.name,
            points=result.score,
            rounds=result.rounds,
            test=result.sprt,
            held_out=own,
            is_promoted=result.sprt.decision == "H1" and (own is None or theirs is None or own >= theirs),
        )

    def _held_out(self, player: str) -> float | None:
        """The mean of the points from the partners that are held out; None if no partner ships."""
        points = self.points(player, {name: PREFIX + name for name in partner_names(held_out=True)})
        return sum(points.values()) / len(points) if points else None

    def review(self, book: Book) -> None:
        """Measure every exploiter against the newest main agent anew, choose whom that meets, and make the cross table.

        Who takes almost nothing any more is retired, and comes back when it does again.
        """
        exploiters = book.of("exploiter")
        taken = self.points(NEWEST, {member.name: member.player for member in exploiters}, self._rounds // 2)
        for member in exploiters:
            member.points = 1.0 - taken[member.name]
        choose_met(book)
        met = {member.name: member.player for member in book.members if member.is_met}
        players = {"newest": NEWEST, **met, "strong": "strong"}
        made = {name: self._player(spec) for name, spec in players.items()}
        book.table = cross_table(made, rounds=self._rounds // 2, **self._how)

    def _play(
        self, player: str, opponents: Mapping[str, str], rounds: int, sprt: Sprt | None = None
    ) -> dict[str, OpponentResult]:
        if not opponents:
            return {}
        report = evaluate(
            self._player(player),
            {name: self._player(spec) for name, spec in opponents.items()},
            rounds=rounds,
            sprt=sprt,
            **self._how,
        )
        return {result.opponent: result for result in report.results}

    def _player(self, spec: str) -> Player:
        return make_player(located(spec, self._directory), seed=SEED, keep_mode=self._keep_mode)


def located(player: str, directory: Path) -> str:
    """A player of the book as seen from here: paths in it start at the population's directory."""
    kind, colon, path = player.rpartition(":")
    return f"{kind}{colon}{directory / path}" if path.endswith(".safetensors") else player


def choose_met(book: Book) -> None:
    """Of the exploiters the main agent meets those that take the most points, and the champion of its own kind."""
    ranked = sorted(book.of("exploiter"), key=lambda member: -(member.points or 0.0))
    met = {member.name for member in ranked[:MOST_MET] if (member.points or 0.0) >= RETIRED}
    for member in book.members:
        member.is_met = member.name in met or member.name == book.champion

"""The loop that makes a sparring partner: play, learn, examine, save."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from zipfile import BadZipFile

import numpy as np
from pydantic import Field, ValidationError

from competitor.errors import ResumeError
from competitor.evaluate.evaluation import evaluate, paired_schedule
from competitor.options import written
from competitor.play.rounds import Round, RoundRunner, play_rounds
from competitor.players import Player, make_player
from competitor.players.sparring import PartnerCard, SmallPolicy, SparringPlayer, read_partner, write_partner
from competitor.sparring.actor import Actor, Exploring, Learner
from competitor.sparring.opponents import Count, Opponents, SavedOpponents
from competitor.sparring.recipes import SELF
from competitor.sparring.run import EXAMINATIONS, PROGRESS, Run
from dreamer.files import atomic_write_text
from dreamer.strict import Strict, first_problem

FIRST_ROUNDS = 200  # of each named opponent, so that the replay has seen goals before the learner scores any
BASE = ("weak", "strong")  # they examine everybody
EXAMINE_EVERY = 10_000  # updates: one to two minutes of one core
EXAMINE_ROUNDS = 60  # against each opponent
BASE_RATE = 0.8  # share of rounds to be won against each base opponent, as the winner of winter 2025/26 had it
NEWEST_POINTS = 0.55
"""Share of points to be taken from the newest member of the pool.

That winner asked for 60 % of the rounds won; without noise most rounds between near relatives are drawn here.
"""
SAVE_EVERY_S = 240.0
REPORT_EVERY_S = 60.0

Say = Callable[[str], object]


@dataclass(frozen=True)
class Marks:
    """Shares of rounds won, and points (a draw is half a point) as shares, by opponent."""

    won: dict[str, float]
    points: dict[str, float]

    def passed(self, newest: str | None) -> bool:
        """Whether the base opponents and the newest member were beaten as the entrance to the pool asks for."""
        base = all(rate >= BASE_RATE for name, rate in self.won.items() if name != newest)
        return base and (newest is None or self.points[newest] >= NEWEST_POINTS)

    def mean_points(self, names: list[str]) -> float:
        return float(np.mean([self.points[name] for name in names]))


class SavedBook(Strict):
    """book.json of a save."""

    frames: Count
    rounds: Count
    seconds: Annotated[float, Field(ge=0.0)]
    best_points: float
    examined_at: Count
    opponents: SavedOpponents


@contextmanager
def _explained(save: Path) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise ResumeError(f"the save {save} is damaged: book.json: {first_problem(error)}") from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise ResumeError(f"the save {save} is damaged: {type(error).__name__}: {error}") from error


class Trainer:
    """Trains in a run directory: goes on from its last save, or begins anew if there is none.

    Args:
        run: which no other process trains.
        learner: made for the run's recipe.
        clock: seconds that only grow.
        say: shows a line to the user.
        examine_every: updates between two examinations; examine_rounds: rounds against each opponent in them.

    Raises PlayerError for an opponent that does not exist, ResumeError for a run that cannot be gone on with.
    """

    def __init__(
        self,
        run: Run,
        learner: Learner,
        *,
        clock: Callable[[], float],
        say: Say,
        examine_every: int = EXAMINE_EVERY,
        examine_rounds: int = EXAMINE_ROUNDS,
    ) -> None:
        self.run, self.learner, self.recipe = run, learner, run.recipe
        self._clock, self._say, self._examine_every = clock, say, examine_every
        self._examine_rounds = examine_rounds
        self._chance = np.random.default_rng(self.recipe.seed)
        self._player, itself = (self._learning_player(name) for name in (run.name, SELF))
        self.opponents = Opponents(self.recipe.shares, itself, self._make, self._chance.spawn(1)[0])
        self.frames = self.rounds = 0
        self.seconds = 0.0
        self._best_points, self._examined_at = -1.0, 0
        self._stopped = False
        self._begin()
        self._actor: Actor = learner.actor()

    def _learning_player(self, name: str) -> SparringPlayer:
        exploring = Exploring(lambda: self._actor, self._chance.spawn(1)[0])
        return SparringPlayer(exploring, name, repeat=self.recipe.repeat)

    def _make(self, name: str) -> Player:
        return make_player(name, seed=self.recipe.seed)

    def _begin(self) -> None:
        save = self.run.saves.current()
        if save is not None:
            with _explained(save):
                self._restore(save)
            return
        source = self.run.source()
        first = source.saves.current() if source else None
        if first is not None:
            with _explained(first):
                self.learner.load(first, weights_only=True)
            self._say(f"begins with the weights of {self.recipe.begins_from}")
        self._play_first_rounds()

    def _play_first_rounds(self) -> None:
        """Rounds of the named opponents against strong fill the replay."""
        for name in self.recipe.named or ["strong"]:
            schedule = paired_schedule("strong", FIRST_ROUNDS, self.recipe.seed)
            for round_ in play_rounds(self._make(name), self._make("strong"), schedule, rinks=32):
                self._enter(round_, own_views=())

    @property
    def finished(self) -> bool:
        """Whether all updates of the recipe are made."""
        return self.learner.updates >= self.recipe.updates

    def stop(self) -> None:
        """End `train` after the step in progress."""
        self._stopped = True

    def train(self, *, minutes: float = 0.0) -> None:
        """Play and learn until the recipe's updates are made, `minutes` of this call have passed (0: no limit), or
        `stop` was called; then save.
        """
        began, earlier = self._clock(), self.seconds
        reported_at = saved_at = began
        runner = RoundRunner(self.recipe.rinks, self._player, self.opponents.players, self.opponents.setups())
        while not self._stopped and not self.finished:
            self._step(runner)
            now = self._clock()
            self.seconds = earlier + now - began
            if now - reported_at >= REPORT_EVERY_S:
                self._report()
                reported_at = now
            if now - saved_at >= SAVE_EVERY_S:
                self.save()
                saved_at = now
            if 0 < 60 * minutes <= now - began:
                break
        self.save()
        self._report()

    def _step(self, runner: RoundRunner) -> None:
        """One frame on every rink, and the updates and the examination that are due by it."""
        for round_ in runner.step():
            itself = round_.setup.opponent == SELF
            self._enter(round_, own_views=(0, 1) if itself else (round_.setup.side,))
            self.opponents.enter(round_.setup.opponent, round_.result)
            self.rounds += 1
        self.frames += runner.active
        if self.learner.learn(runner.active):
            self._actor = self.learner.actor()
            if self.learner.updates - self._examined_at >= self._examine_every:
                self.examine()

    def _enter(self, round_: Round, own_views: tuple[int, ...]) -> None:
        for view in (0, 1):
            obs, info = round_.obs[view], round_.info[view]
            reward, own = self.recipe.reward.of(obs, info), view in own_views
            self.learner.enter(obs, round_.actions[view], reward, terminal=round_.is_decided, own=own)

    def examine(self) -> None:
        """Play against base opponents, named ones and the newest member; keep the best policy, enter the pool.

        The best takes the most points from the recipe's named opponents: for an exploiter nobody else counts.
        """
        self._examined_at = self.learner.updates
        policy, newest = self._actor.policy(), self.opponents.pool[-1] if self.opponents.pool else None
        fixed = list(dict.fromkeys([*BASE, *self.recipe.named]))
        judges = {name: self._make(name) for name in fixed} | ({newest: self._member(newest)} if newest else {})
        player = SparringPlayer(policy, self.run.name, repeat=self.recipe.repeat)
        seed, rounds = self.learner.updates, self._examine_rounds
        results = evaluate(player, judges, rounds=rounds, seed=seed, stops_early=False).results
        won, points = ({one.opponent: getattr(one, key) for one in results} for key in ("win_rate", "score"))
        marks = Marks(won, points)
        self._write("latest", policy, marks)
        mean = marks.mean_points(self.recipe.named or list(BASE))
        if mean >= self._best_points:
            self._best_points = mean
            self._write("best", policy, marks)
        passed = marks.passed(newest)
        if passed:
            name = f"{self.run.name}-{self.learner.updates}"
            self._write(f"pool/{name}", policy, None)
            self.opponents.add_member(self._member(name))
        self.run.log(EXAMINATIONS, {"updates": self.learner.updates, "passed": passed, **asdict(marks)})
        shown = ", ".join(f"{name} {won:.0%}" for name, won in marks.won.items())
        self._say(
            f"examination at {self.learner.updates:,} updates: won {shown}{'; enters the pool' if passed else ''}"
        )

    def _write(self, file: str, policy: SmallPolicy, marks: Marks | None) -> None:
        made = {"updates": self.learner.updates, "frames": self.frames, "minutes": round(self.seconds / 60, 1)}
        card = PartnerCard(
            name=self.run.name,
            style=self.recipe.style,
            held_out=self.recipe.held_out,
            activation="tanh" if policy.tanh_layers else "relu",
            squash=policy.squash,
            repeat=self.recipe.repeat,
            made=made | {"examination": marks.points if marks else {}},
        )
        write_partner(self.run.path / f"{file}.safetensors", policy, card)

    def _member(self, name: str) -> SparringPlayer:
        policy, card = read_partner(self.run.path / "pool" / f"{name}.safetensors")
        return SparringPlayer(policy, name, repeat=card.repeat)

    def _report(self) -> None:
        scores, pool = self.opponents.scores(), len(self.opponents.pool)
        line = {"minutes": round(self.seconds / 60, 2), "updates": self.learner.updates, "frames": self.frames}
        self.run.log(PROGRESS, line | {"pool": pool, "scores": scores, **self.learner.numbers()})
        shown = ", ".join(f"{name} {mean:.0%}" for name, mean in scores.items())
        self._say(
            f"{self.seconds / 60:6.1f} min  {self.learner.updates:9,} updates  {self.frames:11,} frames  "
            f"points {shown or 'none yet'}  pool {pool}"
        )

    def save(self) -> None:
        """Write everything that going on needs, whole or not at all. Raises StorageError."""
        book = {
            "frames": self.frames,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "best_points": self._best_points,
            "examined_at": self._examined_at,
            "opponents": self.opponents.state(),
        }
        with written(self.run.path), self.run.saves.new() as save:
            self.learner.save(save)
            atomic_write_text(save / "book.json", json.dumps(book))

    def _restore(self, save: Path) -> None:
        self.learner.load(save)
        book = SavedBook.model_validate_json((save / "book.json").read_bytes())
        self.frames, self.rounds, self.seconds = book.frames, book.rounds, book.seconds
        self._best_points, self._examined_at = book.best_points, book.examined_at
        self.opponents.restore(book.opponents, self._member)
        self._say(f"goes on at {self.learner.updates:,} updates")

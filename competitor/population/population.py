"""The population at work: turns of learners side by side, and what follows from each."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from competitor.errors import EXIT_INTERRUPTED, CompetitorError
from competitor.population.book import NEWEST, Book, Learner, Member, Role
from competitor.population.judge import Judge, choose_met
from competitor.population.roles import add_exploiters, begin_again, freeze, learned, opponents_of, turn_of
from competitor.population.workers import LOST, UNBEGUN, Workers
from competitor.screen import Count

BEATEN = 0.6  # share of the points by which an exploiter has beaten the main agent
REVIEW_EVERY = 4  # turns of the main agent
MOST_FAILURES = 3  # turns in a row
MOST_TRIALS = 100  # kept in the book
PAUSE_S = 10.0  # times the failures in a row: a process that somebody has killed may still be saving
WAIT_S = 0.5  # between two looks at the clock and at what the user wants


class Stopped(Exception):  # noqa: N818, it is no error
    """The user wants to end while something is judged."""


class Population:
    """Runs the learners of a directory; the caller holds it for this process alone.

    Args:
        listed: the opponents of the settings and their shares.
        rounds: of an examination; trials and reviews follow from it.
        turn_minutes: length of a turn. life_minutes: after so many an exploiter's time is over.
        sac: whether the exploiters of the sparring partners' kind can be trained here.
        clock: seconds that only grow. say: shows a line. count: shows the progress of a judgement.
    """

    def __init__(
        self,
        directory: Path,
        book: Book,
        workers: Workers,
        *,
        listed: Mapping[str, float],
        keep_mode: bool,
        rounds: int,
        turn_minutes: float,
        life_minutes: float,
        sac: bool,
        clock: Callable[[], float],
        say: Callable[[str], object],
        count: Count,
    ) -> None:
        self.book = book
        self._directory, self._workers, self._listed, self._sac = directory, workers, listed, sac
        self._turn_minutes, self._life_minutes = turn_minutes, life_minutes
        self._clock, self._say, self._count = clock, say, count
        self._judge = Judge(directory, rounds=rounds, keep_mode=keep_mode, on_progress=self._judging)
        self._running: dict[Future[int], tuple[Learner, float]] = {}
        self._ran: dict[str, int] = {}
        self._ready_at: dict[str, float] = {}
        self._stopped = False
        add_exploiters(book, workers.count - 1, sac=sac)

    def stop(self) -> None:
        """End `run` once every learner has saved. Safe in a signal handler."""
        self._stopped = True

    def run(self, *, minutes: float = 0.0) -> None:
        """Run turns until `stop` is called or `minutes` have passed (0: no limit); then all learners are saved.

        Raises CompetitorError when the main agent's turns fail, StorageError when something cannot be written.
        """
        ends_at = self._clock() + 60 * minutes if minutes else float("inf")
        asked = False
        try:
            while not self._stopped and self._clock() < ends_at:
                self._begin_turns((ends_at - self._clock()) / 60)
                self._finish_turns()
            self._stopped = asked = True
            self._workers.stop()
            while self._running:
                self._finish_turns()
        except BaseException as error:
            if not asked or isinstance(error, KeyboardInterrupt):
                self._workers.stop()
            raise
        finally:
            self._workers.close()

    def _begin_turns(self, minutes_left: float) -> None:
        """Give every free worker the learner that has waited longest; of two workers one is the main agent's."""
        busy = {learner.name for learner, _ in self._running.values()}
        waiting = [learner for learner in self.book.learners if learner.name not in busy and self._is_ready(learner)]
        waiting.sort(key=lambda each: (self._workers.count > 1 and each.role != "main", self._ran.get(each.name, 0)))
        for learner in waiting[: self._workers.count - len(busy)]:
            met = opponents_of(learner, self.book.members, self._listed)
            turn = turn_of(learner, self._directory, min(self._turn_minutes, minutes_left), met)
            self._ran[learner.name] = 1 + max(self._ran.values(), default=0)
            self._running[self._workers.submit(turn)] = learner, self._clock()
            self._say(f"{learner.run}: turn {learner.turns + 1} begins")

    def _is_ready(self, learner: Learner) -> bool:
        someone = learner.role == "main" or (self._directory / NEWEST).is_file()
        return someone and self._clock() >= self._ready_at.get(learner.name, 0.0)

    def _finish_turns(self) -> None:
        if not self._running:
            time.sleep(WAIT_S)
        done, _ = wait(self._running, timeout=WAIT_S, return_when=FIRST_COMPLETED)
        for future in done:
            learner, began = self._running.pop(future)
            self._count_turn(learner, future.result(), (self._clock() - began) / 60)
            self.book.write(self._directory)
            if not self._stopped and not learner.failures:
                self._follow_up(learner)
                self.book.write(self._directory)

    def _count_turn(self, learner: Learner, code: int, minutes: float) -> None:
        if code in (0, EXIT_INTERRUPTED):
            learner.minutes, learner.turns, learner.failures = learner.minutes + minutes, learner.turns + 1, 0
            self._say(f"{learner.run}: turn {learner.turns} has ended, {learner.minutes:.1f} minutes in all")
            return
        if self._stopped and code == UNBEGUN:
            return
        log = self._directory / "logs" / f"{learner.name}.log"
        ended = "was killed" if code == LOST else f"ended with exit code {code}"
        reason = f"{learner.run}: its turn {ended}; see {log}"
        self._say(reason)
        if self._stopped:
            return
        learner.failures += 1
        self._ready_at[learner.name] = self._clock() + PAUSE_S * learner.failures
        if learner.failures >= MOST_FAILURES:
            if learner.role == "main":
                raise CompetitorError(f"{reason}; {learner.failures} turns in a row have failed")
            begin_again(learner, self.book, sac=self._sac)

    def _follow_up(self, learner: Learner) -> None:
        weights = learned(learner, self._directory)
        if weights is None:
            return
        try:
            self._follow_main(learner, weights) if learner.role == "main" else self._examine(learner, weights)
        except Stopped:
            self._say(f"{learner.run}: the judgement is given up; it will be judged after its next turn")

    def _follow_main(self, main: Learner, weights: Path) -> None:
        freeze(weights, self._directory / NEWEST)
        name = f"main-{main.turns}"
        if not self.book.champion:
            self._promote(name, weights)
        else:
            trial = self._judge.trial(name, self.book)
            self.book.trials = [*self.book.trials, trial][-MOST_TRIALS:]
            self._say(
                f"{name}: {100 * trial.points:.1f} % of the points against the champion {trial.champion} in "
                f"{trial.rounds} rounds, test {trial.test.decision}{'' if trial.is_promoted else ': no promotion'}"
            )
            if trial.is_promoted:
                self._promote(name, weights)
        if main.turns % REVIEW_EVERY == 0:
            self._enter(name, "main", weights)
            self._judge.review(self.book)
            self._say("a new cross table: see `league status`")

    def _promote(self, name: str, weights: Path) -> None:
        self._enter(name, "main", weights)
        self.book.champion = name
        choose_met(self.book)
        self._say(f"{name} is the new champion")

    def _examine(self, exploiter: Learner, weights: Path) -> None:
        """Let an exploiter in if it beats the newest main agent or its time is over; then another begins."""
        name, kind = exploiter.run, "sparring:" if exploiter.kind == "sac" else ""
        player = f"{kind}{weights.relative_to(self._directory)}"
        points = self._judge.points(player, {"newest": NEWEST})["newest"]
        self._say(f"{name}: {100 * points:.1f} % of the points against the newest main agent")
        if points >= BEATEN or exploiter.minutes >= self._life_minutes:
            self._enter(name, "exploiter", weights, kind, points)
            choose_met(self.book)
            self._say(f"{name} enters the league: {'beats the main agent' if points >= BEATEN else 'its time is over'}")
            begin_again(exploiter, self.book, sac=self._sac)

    def _enter(self, name: str, role: Role, weights: Path, kind: str = "", points: float | None = None) -> None:
        place = f"members/{name}.safetensors"
        freeze(weights, self._directory / place)
        self.book.enter(Member(name=name, role=role, player=kind + place, points=points))

    def _judging(self, done: int, total: int) -> None:
        if self._stopped:
            raise Stopped
        self._count(done, total)

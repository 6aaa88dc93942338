"""How good a player is: paired rounds against opponents, counted with honest errors.

Pair k is one start of the puck played twice: round 2k with the player on the left, round 2k + 1 on the right.
The side that starts stays, so within a pair the starter's role changes hands too, and it alternates from pair
to pair. The starts depend on the seed alone: every player meets the same ones (common random numbers), on any
number of rinks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from competitor.evaluate.gauntlet import Gauntlet, gauntlet_of
from competitor.evaluate.results import LEFT, RIGHT, Meeting, OpponentResult, Outcome
from competitor.evaluate.statistics import Sprt
from competitor.play.recording import record_round
from competitor.play.rounds import Round, RoundRunner, RoundSetup
from competitor.players import Player
from competitor.screen import Count, uncounted

RINKS = 128
REPORT_FORMAT = 2  # 1 said by_seat instead of by_side


@dataclass(frozen=True)
class EvaluationReport:
    """The results of one player. policy: "deterministic" or "sampled"; partial: stopped before the end.

    gauntlet: the summary of the results against all sparring partners, if they were asked for. record_error: why
    not all rounds could be recorded, if that was asked for.
    """

    checkpoint: str
    policy: str
    seed: int
    engine: str
    rinks: int
    seconds: float
    partial: bool
    notes: list[str]
    results: list[OpponentResult]
    gauntlet: Gauntlet | None = None
    record_error: str | None = None
    format: int = REPORT_FORMAT

    def with_gauntlet(self) -> EvaluationReport:
        """Return the report with the summary of the gauntlet; one that was stopped early has none."""
        return self if self.partial else replace(self, gauntlet=gauntlet_of(self.results))


@dataclass(frozen=True)
class Scheduled(RoundSetup):
    """A setup that knows its number in the schedule against its opponent."""

    number: int = 0


def policy_of(*players: Player) -> str:
    """How they play: "sampled" if one of them draws from its policy, else "deterministic"."""
    return "deterministic" if all(getattr(player, "deterministic", True) for player in players) else "sampled"


def paired_schedule(opponent: str, rounds: int, seed: int) -> Iterator[Scheduled]:
    """Yield `rounds` (even) setups against `opponent`; more rounds of one seed only continue fewer."""
    starts = np.random.default_rng(seed)
    for pair in range(rounds // 2):
        start = int(starts.integers(2**31))
        for side in (LEFT, RIGHT):
            yield Scheduled(
                one_starting=pair % 2 == 0, seed=start, side=side, opponent=opponent, number=2 * pair + side
            )


def evaluate(
    player: Player,
    opponents: Mapping[str, Player],
    *,
    rounds: int,
    seed: int = 0,
    rinks: int = RINKS,
    engine: str = "builtin",
    keep_mode: bool = True,
    sprt: Sprt | None = None,
    stops_early: bool = True,
    record_dir: Path | None = None,
    on_round: Callable[[Round], object] | None = None,
    on_progress: Count = uncounted,
) -> EvaluationReport:
    """Play `rounds` paired rounds of `player` against each opponent and report them.

    An odd number of rounds is rounded up, and the report says so. Ctrl-C ends early with a report marked
    partial, or is raised unless `stops_early`. `record_dir` keeps every round; when one cannot be written, play goes on
    and the report says so. Raises PlayerError, EngineError.
    """
    even = rounds + rounds % 2
    meetings = {name: Meeting(name, even, sprt) for name in opponents}
    began = time.monotonic()
    slots = max(1, min(rinks, even * len(opponents)))
    interrupted = False
    recorder = None if record_dir is None else _Recorder(record_dir, player.name, engine, keep_mode)
    try:
        runner = RoundRunner(slots, player, opponents, _schedule(meetings, seed), engine=engine, keep_mode=keep_mode)
        for played in _play(runner, meetings, on_progress):
            if recorder is not None:
                recorder.record(played)
            if on_round is not None:
                on_round(played)
    except KeyboardInterrupt:
        if not stops_early:
            raise
        interrupted = True
    return EvaluationReport(
        checkpoint=player.name,
        policy=policy_of(player),
        seed=seed,
        engine=engine,
        rinks=slots,
        seconds=time.monotonic() - began,
        partial=interrupted,
        notes=_notes(rounds, meetings, interrupted),
        results=[meeting.result() for meeting in meetings.values()],
        record_error=None if recorder is None else recorder.error,
    )


@dataclass
class _Recorder:
    """Writes rounds to files until one cannot be written: then the results still count, and the files before stay."""

    directory: Path
    player: str
    engine: str
    keep_mode: bool
    recorded: int = 0
    error: str | None = None

    def record(self, played: Round) -> None:
        if self.error is not None:
            return
        try:
            record_round(
                self.directory,
                played,
                number=_scheduled(played).number,
                player=self.player,
                engine=self.engine,
                keep_mode=self.keep_mode,
            )
            self.recorded += 1
        except OSError as error:
            self.error = f"{self.directory} holds only the first {self.recorded} rounds: {error.strerror or error}"


def _schedule(meetings: Mapping[str, Meeting], seed: int) -> Iterator[Scheduled]:
    """Yield all rounds, opponent by opponent, leaving out those that a decided test no longer needs."""
    for meeting in meetings.values():
        for setup in paired_schedule(meeting.opponent, meeting.rounds, seed):
            if meeting.complete:
                break
            yield setup


def _play(runner: RoundRunner, meetings: Mapping[str, Meeting], on_progress: Count) -> Iterator[Round]:
    """Play until every meeting is complete; yield the rounds after they were counted."""
    total = sum(meeting.rounds for meeting in meetings.values())
    done = 0
    while not all(meeting.complete for meeting in meetings.values()):
        for played in runner.step():
            setup = _scheduled(played)
            meetings[setup.opponent].enter(setup.number, Outcome.of(played))
            yield played
            done += 1
            on_progress(done, total)


def _scheduled(played: Round) -> Scheduled:
    assert isinstance(played.setup, Scheduled)
    return played.setup


def _notes(rounds: int, meetings: Mapping[str, Meeting], interrupted: bool) -> list[str]:
    notes = []
    if rounds % 2:
        notes.append(f"{rounds} rounds were rounded up to {rounds + 1}: rounds are played in pairs")
    if interrupted:
        notes.append("interrupted: the results are those of the pairs finished by then")
    notes += [
        f"the test against {name} decided after {2 * meeting.whole_pairs} of {meeting.rounds} rounds"
        for name, meeting in meetings.items()
        if meeting.decided
    ]
    return notes

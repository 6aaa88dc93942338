"""The recorded steps of finished matches: one file each, as the first player saw it, the oldest deleted in time.

The files are those of competitor.play.match_file: `watch` shows them and `train --replay` learns from them. A match
that cannot be recorded is not lost: its result stands in the store, it only cannot be watched.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np

from competitor.arena.queries import PLAYED, MatchResult
from competitor.arena.steps import StepLog
from competitor.errors import RecordingError
from competitor.play.finished_match import Ending, FinishedMatch
from competitor.play.match_file import file_name, match_bytes, read_match
from competitor.play.outcomes import PlayedRound, rounds_of
from competitor.rink.observation import other_view
from dreamer.files import atomic_write

FILE = re.compile(r"(\d{8}T\d{6}Z)-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-[0-9a-f]{8}\.npz")
MOST_WAITING = 100  # matches that wait to be written, 140 kB each; what is beyond them is not recorded
PATIENCE_S = 2.0
MIB, DAY_S = 1 << 20, 86_400.0

log = logging.getLogger(__name__)


class Recordings:
    """The folder of recordings. A thread of its own writes, so that no match waits for the disk.

    most_mib, most_days: what is beyond them is deleted, the oldest first. clock: unix seconds. Raises OSError.
    """

    def __init__(
        self,
        directory: Path,
        *,
        most_mib: float,
        most_days: float,
        version: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._version, self._clock = directory, version, clock
        self._most_bytes, self._most_s = most_mib * MIB, most_days * DAY_S
        for left_over in directory.glob(".*.npz.*.tmp"):  # of an arena that was killed
            left_over.unlink()
        self._files = {path: path.stat().st_size for path in sorted(directory.iterdir()) if FILE.fullmatch(path.name)}
        self._by_match = {UUID(_parts(path)[1]): path for path in self._files}
        self._pending: dict[UUID, Future[None]] = {}
        self._places = threading.BoundedSemaphore(MOST_WAITING)
        self._writer = ThreadPoolExecutor(1, "recordings")
        self._writer.submit(self._delete_old)

    def keep(self, result: MatchResult, steps: StepLog, rounds: int) -> None:
        """Write the match, which was to have so many rounds, soon. Returns at once and raises nothing."""
        if not steps.steps:
            return
        if not self._places.acquire(blocking=False):
            log.warning("too many matches wait to be recorded: one is left out")
            return
        writing = self._pending[result.match_id] = self._writer.submit(self._keep, result, steps, rounds)
        writing.add_done_callback(lambda _: self._pending.pop(result.match_id, None))

    def find(self, match_id: UUID) -> Path | None:
        """The file of a match; None if there is none, or no more. Waits a moment for one that is being written."""
        if (pending := self._pending.get(match_id)) is not None:
            wait([pending], PATIENCE_S)
        return self._by_match.get(match_id)

    def close(self) -> None:
        """Wait until everything is written."""
        self._writer.shutdown()

    def _keep(self, result: MatchResult, steps: StepLog, rounds_in_all: int) -> None:
        try:
            match, rounds = _finished(result, steps, rounds_in_all)
            content = match_bytes(match, rounds, self._version)
            path = self._directory / file_name(match)
            atomic_write(path, lambda file: file.write(content))
            self._files[path] = len(content)
            self._by_match[result.match_id] = path
            self._delete_old()
        except Exception as error:  # of this match alone; the next one may be written
            log.warning("a match is not recorded: %s", error)
        finally:
            self._places.release()

    def _delete_old(self) -> None:
        total = sum(self._files.values())
        too_old = self._clock() - self._most_s
        for path, size in sorted(self._files.items()):
            ended, match_id = _parts(path)
            if total <= self._most_bytes and _unix_s(ended) >= too_old:
                break
            total -= size
            del self._files[path]
            self._by_match.pop(UUID(match_id), None)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("an old recording cannot be deleted: %s", error)


def _parts(path: Path) -> tuple[str, str]:
    found = FILE.fullmatch(path.name)
    assert found is not None, path
    return found[1], found[2]


def _unix_s(text: str) -> float:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _finished(result: MatchResult, steps: StepLog, rounds_in_all: int) -> tuple[FinishedMatch, list[PlayedRound]]:
    """The match from the first player's side, and its rounds, of which the arena knows everything."""
    logged = [one for number in range(steps.rounds) if len((one := steps.round(number)).actions)]
    lengths = [len(one.actions) for one in logged]
    firsts = np.cumsum([0, *lengths[:-1]]).tolist()
    obs = np.concatenate([one.views[:-1] for one in logged]).astype(np.float64)
    actions = np.concatenate([one.actions for one in logged])
    first, second = result.users
    match = FinishedMatch(
        match_id=str(result.match_id),
        wire="arena",
        server="arena",
        connection=first,
        opponent=second,
        started_at=result.started_at,
        ended_at=result.ended_at,
        own=result.scores[0],
        other=result.scores[1],
        rounds=rounds_in_all,
        ending=_ending(result, second),
        reason="" if result.ending == PLAYED else result.ending,
        checkpoint=first,
        digest="",
        rating=None,
        obs=obs,
        actions=actions[:, 0],
        is_first=np.isin(np.arange(len(obs)), firsts),
        source=np.zeros(len(obs), np.uint8),
        latency_ms=np.zeros(len(obs), np.float32),
        opponent_actions=actions[:, 1],
    )
    rounds = [
        PlayedRound(
            at, length, "own" if one.views[0, 12] < 0 else "other", one.winner, one.views[-1].astype(np.float64)
        )
        for at, length, one in zip(firsts, lengths, logged, strict=True)
    ]
    return match, rounds


def _ending(result: MatchResult, opponent: str) -> Ending:
    """How the match ended for the one whose opponent this is."""
    if result.ending == PLAYED:
        return "played"
    return "opponent left" if result.left_by == opponent else "abandoned"


def seen_by_second(path: Path, result: MatchResult, version: str) -> bytes:
    """The file of a recorded match as the second player saw it. Raises RecordingError."""
    match, _ = read_match(path)
    if match.opponent_actions is None:
        raise RecordingError(f"{path} is no match of an arena")
    first, second = result.users
    turned = replace(
        match,
        connection=second,
        opponent=first,
        checkpoint=second,
        own=match.other,
        other=match.own,
        ending=_ending(result, first),
        obs=other_view(match.obs),
        actions=match.opponent_actions,
        opponent_actions=match.actions,
    )
    return match_bytes(turned, rounds_of(turned), version)

"""What is left of every match: its file, and a row in the table of all matches.

One thread writes. A match is first written to its file, flushed to the disk, then entered in the table in one
transaction; then `saved` is called. A process killed between the two leaves a file without a row, which the
next start enters. When the disk refuses, play goes on: matches wait in memory and are written as soon as it
takes them again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import queue
import sqlite3
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from competitor.daemon.database import Database, MatchRow, row_of
from competitor.errors import RecordingError, StorageError
from competitor.play.finished_match import FinishedMatch
from competitor.play.match_file import PATTERN, file_name, match_bytes, read_match
from competitor.play.outcomes import PlayedRound, rounds_of, with_known_score
from competitor.screen import match_count
from competitor.system import code_version
from dreamer.files import atomic_write, sync_directory

log = logging.getLogger(__name__)
RETRY_S = 30.0
MOST_WAITING = 1000  # about 100 MB
LEFTOVER_S = 60.0  # no file takes longer to write
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
REFUSED = (OSError, sqlite3.DatabaseError, RecordingError)


@dataclass(frozen=True)
class _Entry:
    """A match ready to be written: small, while it waits."""

    row: MatchRow
    rounds: list[PlayedRound]
    content: bytes

    def write(self, directory: Path) -> None:
        """Write the match's file, whole and safely."""
        atomic_write(directory / self.row.file, lambda file: file.write(self.content))


class Records:
    """Keeps finished matches in `directory`; several processes may do so side by side.

    Raises StorageError when the directory cannot be made or written, RecordingError when its table is damaged
    or of another version. After that nothing is raised: what goes wrong is logged.
    """

    def __init__(
        self,
        directory: Path,
        *,
        stored: Callable[[int, str | None], None] = lambda waiting, refusal: None,
        retry_s: float = RETRY_S,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`stored` hears how many matches wait for the disk whenever that changes, and what the disk says."""
        self.directory = directory
        self._stored = stored
        self._retry_s, self._wall_clock = retry_s, wall_clock
        self._version = code_version()
        self._database = _opened(directory)
        self._jobs: queue.SimpleQueue[tuple[FinishedMatch, Callable[[], None]] | None] = queue.SimpleQueue()
        self._waiting: deque[_Entry] = deque()
        self._refusal: str | None = None
        self._closing, self._closed = threading.Lock(), False
        self._writer = threading.Thread(target=self._write, name="records", daemon=True)
        self._writer.start()

    @property
    def waiting(self) -> int:
        """How many matches the disk has not taken yet."""
        return len(self._waiting)

    def keep(self, match: FinishedMatch, saved: Callable[[], None]) -> None:
        """Return at once; `saved` is called by the writer's thread once the match is safe, or was refused."""
        with self._closing:
            if not self._closed and self._jobs.qsize() < MOST_WAITING:
                self._jobs.put((match, saved))
                return
        why = "it came after the records were closed" if self._closed else "too many wait for the disk"
        log.error("match %s is lost: %s", match.match_id, why)
        saved()

    def __enter__(self) -> Records:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            self.close()
        except StorageError as problem:
            if kind is None:
                raise
            log.error("%s", problem)

    def close(self) -> None:
        """Write everything that was handed over, then end. Safe to call again.

        Raises StorageError when matches are left that the disk did not take.
        """
        with self._closing:  # nothing comes after the None
            self._closed = True
            self._jobs.put(None)
        self._writer.join()
        if self._waiting:
            problem = _rescued(self._waiting, self.directory, self._refusal)
            self._waiting.clear()
            raise StorageError(problem)

    def _write(self) -> None:
        self._guarded(self._adopt)
        while True:
            try:
                job = self._jobs.get(timeout=self._retry_s if self._waiting else None)
            except queue.Empty:
                self._guarded(self._flush)
                continue
            if job is None:
                break
            match, saved = job
            self._guarded(partial(self._keep, match))
            self._guarded(saved)
        self._guarded(self._flush)
        self._guarded(self._database.close)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do `work`; whatever it raises must not end the thread that all later matches depend on."""
        try:
            work()
        except Exception:
            log.exception("a mistake of the program while keeping a match")

    def _keep(self, match: FinishedMatch) -> None:
        match = _printable(match)
        rounds = rounds_of(match)
        match = with_known_score(match, rounds)
        row = row_of(match, file_name(match), self._version)
        self._waiting.append(_Entry(row, rounds, match_bytes(match, rounds, self._version)))
        if self._refusal is None or self._jobs.empty():  # a locked table takes its time to refuse
            self._flush()
        if len(self._waiting) > MOST_WAITING:
            lost = self._waiting.popleft()
            log.error("match %s is lost: too many wait for the disk", lost.row.match_id)

    def _flush(self) -> None:
        """Write what waits, oldest first, until the disk refuses."""
        while self._waiting:
            try:
                self._store(self._waiting[0])
            except REFUSED as error:
                self._complain(error)
                return
            self._waiting.popleft()
        if self._refusal is not None:
            self._refusal = None
            self._stored(0, None)
            log.info("%s takes records again; nothing is waiting", self.directory)

    def _store(self, entry: _Entry) -> None:
        entry.write(self.directory)
        sync_directory(self.directory)
        try:
            self._database.add(entry.row, entry.rounds)
        except (sqlite3.IntegrityError, OverflowError) as error:
            # Trying again cannot help, and would keep all later matches waiting.
            log.error("match %s has its file but cannot be listed: %s", entry.row.match_id, error)

    def _complain(self, error: Exception) -> None:
        is_news, self._refusal = self._refusal is None, _refusal(self.directory, error)
        self._stored(len(self._waiting), self._refusal)
        if is_news:
            how = f"matches wait in memory (at most {MOST_WAITING}) and are written as soon as possible"
            log.error("%s: play goes on, %s", self._refusal, how)

    def _adopt(self) -> None:
        """Enter the matches whose files have no row, and remove what a killed process was writing."""
        try:
            listed = self._database.files()
        except REFUSED as error:
            self._complain(error)
            return
        unlisted = (path for path in sorted(self.directory.glob(PATTERN)) if path.name not in listed and path.is_file())
        problems = [self._adopt_file(path) for path in unlisted]
        if damaged := [problem for problem in problems if problem is not None]:
            log.warning("%d files cannot be listed, the first: %s", len(damaged), damaged[0])
        for path in self.directory.glob(f".{PATTERN}.*.tmp"):
            with contextlib.suppress(OSError):
                if self._wall_clock() - path.stat().st_mtime > LEFTOVER_S:
                    path.unlink(missing_ok=True)

    def _adopt_file(self, path: Path) -> str | None:
        """Enter a file's match in the table; returns why that cannot be done."""
        try:
            match, about = read_match(path)
            row = row_of(match, path.name, about.code_version)
            if self._database.add(row, rounds_of(match)):
                log.info("%s was not listed yet: a daemon was stopped while it wrote", path.name)
        except (*REFUSED, OverflowError) as error:
            return f"{path.name}: {error}"
        return None


def _opened(directory: Path) -> Database:
    try:
        if directory.exists() and not directory.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is not a directory")
        directory.mkdir(parents=True, exist_ok=True)
        # SQLite alone might only complain when the first match has been played.
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(b"0")
        return Database(directory)
    except sqlite3.Error as error:
        if error.sqlite_errorcode in DAMAGED:
            raise RecordingError(f"the table of matches in {directory} is damaged ({error}): move it away") from error
        raise StorageError(_refusal(directory, error)) from error
    except OSError as error:
        raise StorageError(_refusal(directory, error)) from error


def _rescued(entries: Sequence[_Entry], directory: Path, refusal: str | None) -> str:
    """Write what the disk of `directory` does not take to the system's temporary folder; say what was done."""
    count = match_count(len(entries))
    try:
        folder = Path(tempfile.mkdtemp(prefix="hockey-matches-"))
        for entry in entries:
            entry.write(folder)
    except OSError:
        return f"{refusal}: {count} could not be kept and {'is' if len(entries) == 1 else 'are'} lost"
    return f"{refusal}: {count} stand in {folder}; move the files to {directory}, the next start lists them"


def _refusal(directory: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"records cannot be written to {directory}: {reason}"


def _printable(match: FinishedMatch) -> FinishedMatch:
    """Return the match with texts that can be encoded: a server may send halves of characters."""
    values = {field.name: getattr(match, field.name) for field in fields(match)}
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    changes: dict[str, Any] = {name: text.encode(errors="replace").decode() for name, text in texts.items()}
    return replace(match, **changes)

"""What is left of every match: its file, and a row in the table of all matches.

One thread writes. A match is first written to its file, flushed to the disk, then entered in the table in one
transaction; then `saved` is called. A process killed between the two leaves a file without a row, which the
next start enters. When the disk refuses, play goes on: matches wait in memory and are written as soon as it
takes them again.
"""

from __future__ import annotations

import errno
import logging
import queue
import sqlite3
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from competitor.daemon.database import Database, MatchRow, RoundRow, round_rows, row_of
from competitor.errors import RecordingError, StorageError
from competitor.play.finished_match import FinishedMatch
from competitor.play.match_file import PATTERN, file_name, match_bytes, read_match
from competitor.play.outcomes import rounds_of
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
    rounds: list[RoundRow]
    content: bytes


class Records:
    """Keeps finished matches in `directory`; several processes may do so side by side.

    Raises StorageError when the directory cannot be made or written, RecordingError when its table is damaged
    or of another version. After that nothing is raised: what goes wrong is logged.
    """

    def __init__(
        self, directory: Path, *, retry_s: float = RETRY_S, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self.directory = directory
        self._retry_s, self._wall_clock = retry_s, wall_clock
        self._version = code_version()
        self._database = _opened(directory)
        self._jobs: queue.SimpleQueue[tuple[FinishedMatch, Callable[[], None]] | None] = queue.SimpleQueue()
        self._waiting: deque[_Entry] = deque()
        self._refused = False
        self._closed = False
        self._writer = threading.Thread(target=self._write, name="records", daemon=True)
        self._writer.start()

    @property
    def waiting(self) -> int:
        """How many matches the disk has not taken yet."""
        return len(self._waiting)

    def keep(self, match: FinishedMatch, saved: Callable[[], None]) -> None:
        """Return at once; `saved` is called by the writer's thread once the match is safe, or was refused."""
        if self._closed:
            log.error("match %s is lost: it came after the records were closed", match.match_id)
            saved()
        else:
            self._jobs.put((match, saved))

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write everything that was handed over, then end. Safe to call again."""
        self._closed = True
        self._jobs.put(None)
        self._writer.join()

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
        self._guarded(self._finish)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do `work`; whatever it raises must not end the thread that all later matches depend on."""
        try:
            work()
        except Exception:
            log.exception("a mistake of the program while keeping a match")

    def _keep(self, match: FinishedMatch) -> None:
        match = _printable(match)
        rounds = rounds_of(match)
        row = row_of(match, file_name(match), self._version)
        self._waiting.append(_Entry(row, round_rows(rounds), match_bytes(match, rounds, self._version)))
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
        if self._refused:
            self._refused = False
            log.info("%s takes records again; nothing is waiting", self.directory)

    def _store(self, entry: _Entry) -> None:
        atomic_write(self.directory / entry.row.file, lambda file: file.write(entry.content))
        sync_directory(self.directory)
        try:
            self._database.add(entry.row, entry.rounds)
        except (sqlite3.IntegrityError, OverflowError) as error:
            # Trying again cannot help, and would keep all later matches waiting.
            log.error("match %s has its file but cannot be listed: %s", entry.row.match_id, error)

    def _complain(self, error: Exception) -> None:
        if not self._refused:
            self._refused = True
            log.error(
                "%s: play goes on, matches wait in memory (at most %d) and are written as soon as possible",
                _refusal(self.directory, error), MOST_WAITING,
            )  # fmt: skip

    def _finish(self) -> None:
        self._flush()
        self._database.close()
        if self._waiting:
            log.error("%d matches could not be written to %s and are lost", len(self._waiting), self.directory)

    def _adopt(self) -> None:
        """Enter the matches whose files have no row, and remove what a killed process was writing."""
        try:
            listed = self._database.files()
        except REFUSED as error:
            self._complain(error)
            return
        for path in sorted(self.directory.glob(PATTERN)):
            if path.name not in listed:
                self._adopt_file(path)
        for path in self.directory.glob(f".{PATTERN}.*.tmp"):
            if self._wall_clock() - path.stat().st_mtime > LEFTOVER_S:
                path.unlink(missing_ok=True)

    def _adopt_file(self, path: Path) -> None:
        try:
            match, about = read_match(path)
            row = row_of(match, path.name, about.code_version)
            if self._database.add(row, round_rows(rounds_of(match))):
                log.info("%s was not listed yet: a daemon was stopped while it wrote", path.name)
        except (*REFUSED, OverflowError) as error:
            log.warning("%s cannot be listed: %s", path.name, error)


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


def _refusal(directory: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"records cannot be written to {directory}: {reason}"


def _printable(match: FinishedMatch) -> FinishedMatch:
    """Return the match with texts that can be encoded: a server may send halves of characters."""
    values = {field.name: getattr(match, field.name) for field in fields(match)}
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    changes: dict[str, Any] = {name: text.encode(errors="replace").decode() for name, text in texts.items()}
    return replace(match, **changes)

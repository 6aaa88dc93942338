"""Logs of a daemon: a file a day, kept for a week, and what matters on the console. The token is in neither.

Whoever logs only puts a record into a queue; one thread writes. So a full disk or a terminal that is held with
Ctrl-S never keeps a match waiting. Lines of one kind that come by the thousand, as a server can make them, are counted
instead: BURST of them are written at once, then one every PAUSE_S.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import errno
import html
import json
import logging
import os
import platform
import queue
import re
import sys
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from logging.handlers import QueueHandler, QueueListener, TimedRotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from competitor.play.finished_match import FinishedMatch, Keeper
from competitor.screen import OUTPUT_LOST, match_count
from competitor.wire.budget import Throttle

if TYPE_CHECKING:
    from competitor.config import Config

DAYS_KEPT = 7
BURST, PAUSE_S = 100, 5.0  # 17,000 lines of a kind a day at most, about 10 MB
HIDDEN = "***"
LEAST_BASE64 = 8  # letters: fewer may stand in any text by chance
# What is logged here stands on the console as it is; of all other loggers only warnings do.
CONSOLE = "competitor.console"
WORDS = {"W": "won", "D": "drew", "L": "lost"}
LIBRARIES = ("torch", "numpy", "twisted", "aiohttp")
FILE_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Redaction:
    """Replaces a secret in texts, in every spelling that a library or a server may give it, in upper or lower case."""

    def __init__(self, secret: str) -> None:
        raw = secret.encode()
        spellings = {secret, repr(secret)[1:-1], repr(raw)[2:-1], json.dumps(secret)[1:-1], quote(secret), raw.hex()}
        spellings |= {html.escape(secret), quote_plus(secret), unicodedata.normalize("NFKC", secret), *_base64(raw)}
        longest_first = sorted(filter(None, spellings), key=len, reverse=True)
        self._secret = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)", re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """Return `text` with *** for each occurrence."""
        return self._secret.sub(HIDDEN, text)


def _base64(raw: bytes) -> Iterator[str]:
    """What every base64 text of something with `raw` in it has in common, wherever in it `raw` begins."""
    for before in range(3):
        whole = 8 * (before + len(raw)) // 6  # letters that do not depend on what follows
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            spelled = encode(bytes(before) + raw).decode()[-(-8 * before // 6) : whole]
            if len(spelled) >= LEAST_BASE64:
                yield spelled


class RedactingQueueHandler(QueueHandler):
    """Hands on copies of records whose message, values and traceback are one text without secrets, few of each kind."""

    def __init__(
        self, records: queue.SimpleQueue[logging.LogRecord], redact: Callable[[str], str], throttle: Throttle
    ) -> None:
        super().__init__(records)
        self._redact, self._throttle = redact, throttle

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record on, if there are not too many of its kind; results on the console always."""
        left_out = 0 if record.name == CONSOLE else self._throttle.let_pass(record)
        if left_out is None:
            return
        if left_out:
            record = copy.copy(record)
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more like this one)", None
        super().emit(record)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return the copy; the record itself stays as it is for other handlers."""
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else record.exc_text
        clean = copy.copy(record)
        clean.msg, clean.args, clean.exc_info, clean.stack_info = self._redact(record.getMessage()), None, None, None
        clean.exc_text = self._redact(trace) if trace else None
        return clean


class DailyFile(TimedRotatingFileHandler):
    """Begins a new file at midnight, and every file with what `header` returns then."""

    def __init__(self, path: Path, header: Callable[[], str]) -> None:
        if path.is_fifo():  # to open one waits for a reader
            raise OSError(errno.EINVAL, f"{path.name} is a pipe")
        super().__init__(path, when="midnight", backupCount=DAYS_KEPT, encoding="utf-8", errors="backslashreplace")
        self._header = header
        self._failed = False
        self.setFormatter(logging.Formatter(FILE_FORMAT))
        self._write_header()

    def doRollover(self) -> None:
        """Close the day's file, open the next one, remove what is older than a week."""
        super().doRollover()
        self._write_header()

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that the file cannot be written; playing goes on without it."""
        if not self._failed:
            self._failed = True
            problem = f"warning: the log {self.baseFilename} cannot be written: {sys.exc_info()[1]}"
            with contextlib.suppress(*OUTPUT_LOST):
                print(problem, file=sys.stderr)

    def _write_header(self) -> None:
        self.stream = self.stream or self._open()
        self.stream.writelines(f"# {line}\n" for line in self._header().splitlines())
        self.stream.flush()


class ConsoleHandler(logging.Handler):
    """Results and news to the standard output, warnings with their time to the standard error output."""

    def __init__(self) -> None:
        super().__init__()
        self._clock_format = logging.Formatter("%(asctime)s", "%H:%M:%S")

    def filter(self, record: logging.LogRecord) -> bool:
        """Let warnings pass, and everything that is meant for the console."""
        return record.levelno >= logging.WARNING or record.name == CONSOLE

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record's message, without a traceback: that one is in the file."""
        try:
            time = self._clock_format.formatTime(record, "%H:%M:%S")
            if record.name == CONSOLE:
                print(f"{time} {record.getMessage()}", flush=True)
            else:
                print(f"{time} {record.levelname.lower()}: {record.getMessage()}", file=sys.stderr, flush=True)
        except OUTPUT_LOST:  # and with it the only place to complain
            pass


def log_header(version: str, server: str, checkpoint: str, digest: str, config: Config) -> str:
    """What somebody who reads the log has to know: versions, server, weights, settings. The token is none of them."""
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    return "\n".join(
        [
            f"hockey-dreamer {version}, Python {platform.python_version()}, {libraries}",
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, pid {os.getpid()}",
            f"server {server}",
            f"checkpoint {checkpoint}, sha256 {digest}",
            f"[compete] {config.compete.model_dump_json()}",
            f"[run] {config.run.model_dump_json()}",
        ]
    )


@contextmanager
def logging_to(path: Path, *, header: Callable[[], str], secret: str) -> Iterator[Path]:
    """Log to the file `path` and to the console within the block; `header` stands at the top of each file.

    Raises OSError when the file cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    redact = Redaction(secret)
    file, console = DailyFile(path, lambda: redact(header())), ConsoleHandler()
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    listener = QueueListener(records, file, console)
    handler = RedactingQueueHandler(records, redact, Throttle(BURST, PAUSE_S))
    root = logging.getLogger()
    level, hook = root.level, threading.excepthook
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    threading.excepthook = _log_dead_thread
    listener.start()
    try:
        yield path
    finally:
        threading.excepthook = hook
        root.setLevel(level)
        root.removeHandler(handler)
        listener.stop()
        with contextlib.suppress(OSError):  # a full disk: that has been said, see DailyFile
            file.close()


def _log_dead_thread(args: threading.ExceptHookArgs) -> None:
    """Thread errors that nobody catches: to the log, where they can be found."""
    name = args.thread.name if args.thread else "unknown"
    logging.getLogger(__name__).error("the thread %s died: %s", name, args.exc_value, exc_info=args.exc_value)


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
            logging.getLogger(CONSOLE).info("%s", line)
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

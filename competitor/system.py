"""The process and the machine under it: which version runs, how many threads calculate, how the user stops it."""

from __future__ import annotations

import atexit
import gc
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from filelock import FileLock, Timeout

from competitor import __version__
from competitor.errors import EXIT_INTERRUPTED, BusyError

if TYPE_CHECKING:
    import asyncio

GIT_TIMEOUT_S = 5.0
LOCK_TIMEOUT_S = 0.2
"""Longer than `is_held` takes to look."""
LEAVE_S = 5.0
"""For what others have to do when the process ends: far more than any library needs."""
SWITCH_INTERVAL_S = 0.0005
"""How long a thread may hold the interpreter while others wait; Python's own 5 ms is long for an answer."""
PROGRAM = "hockey-dreamer"
"""As an installation calls it; in a checkout it is `python cli.py`."""


def code_version(root: Path | None = None) -> str:
    """For example `0.1.0`, or from a git checkout `0.1.0+g1a2b3c4` (with `.dirty` if files were changed).

    root: the folder that would be the checkout; None: the one this package lies in. Never fails: without git,
    without a checkout or without a commit it is the package's number alone.
    """
    folder = Path(__file__).resolve().parent.parent if root is None else root
    commit = _commit(folder) if (folder / ".git").exists() else ""
    return f"{__version__}+g{commit.replace('-', '.')}" if commit else __version__


def _commit(folder: Path) -> str:
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def command_line(*words: object) -> str:
    """A command of this program to be copied: begins as this process was started, each word quoted where it must be."""
    script = sys.argv[0]
    if script.endswith(".py"):
        program = [sys.orig_argv[0], script]
    else:
        program = [script if Path(script).name == PROGRAM and shutil.which(PROGRAM) != script else PROGRAM]
    return shlex.join([*program, *(str(word) for word in words)])


def use_threads(count: int) -> None:
    """Give torch `count` threads; 0 leaves the choice to torch."""
    import torch  # takes seconds, and most of what imports this module does without

    if count:
        torch.set_num_threads(count)


def _closed_terminal() -> signal.Signals | None:
    """SIGHUP; None on Windows, which has none, and after `nohup`, which wants a closed terminal to end nothing."""
    number: signal.Signals | None = getattr(signal, "SIGHUP", None)
    return None if number is None or signal.getsignal(number) is signal.SIG_IGN else number


CLOSED_TERMINAL = _closed_terminal()
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([CLOSED_TERMINAL] if CLOSED_TERMINAL else []))


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """A signal handler that makes the signal a KeyboardInterrupt.

    While a module is loaded it ends the process instead: what is raised there may be swallowed by that module.
    """
    if _is_importing(frame):
        os.write(2, b"interrupted\n")
        os._exit(EXIT_INTERRUPTED)
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if "importlib._bootstrap" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


Handler = Callable[[int, FrameType | None], object]


@contextmanager
def handling(handlers: Mapping[signal.Signals, Handler | signal.Handlers]) -> Iterator[None]:
    """Have these signals handled so within the block; the handlers before are put back."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ending_at_once(numbers: Iterable[signal.Signals], words: bytes) -> AbstractContextManager[None]:
    """Within the block these signals end the process with exit code 0, and with `words` on standard output.

    For the start of a command, which has written nothing yet; what a handler raises within an import may be lost in it.
    """

    def end(number: int, frame: FrameType | None) -> None:
        os.write(1, words)
        os._exit(0)

    return handling(dict.fromkeys(numbers, end))


@contextmanager
def stopping_on_signals(stop: Callable[[], object]) -> Iterator[list[int]]:
    """Call `stop` at the first SIGINT, SIGTERM or SIGHUP within the block; a second one raises KeyboardInterrupt.

    A SIGHUP never is that second one, as a terminal that closes often sends two, nor is the first SIGTERM after it: who
    sends both at once is heard in either order. Yields the list of the signals received so far.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        earlier = set(received)
        received.append(number)
        if not earlier:
            stop()
        elif number == signal.SIGINT or (number != CLOSED_TERMINAL and earlier != {CLOSED_TERMINAL}):
            raise_interrupt(number, frame)

    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # not under nohup
    with handling(dict.fromkeys(heard, handle)):
        yield received


@contextmanager
def stopped_by_signals() -> Iterator[asyncio.Event]:
    """An event of the running loop that is set as `stopping_on_signals` would call."""
    import asyncio  # which most commands do without

    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    with stopping_on_signals(lambda: loop.call_soon_threadsafe(stopping.set)):
        yield stopping


def end_quickly() -> None:
    """Let the process end at once when it ends: without this, Python looks for garbage among torch's modules first.

    That took 80 % of the 0.5 s of processor time between a command's last line and its end.
    """
    atexit.register(gc.freeze)


def end_with(code: int) -> NoReturn:
    """End the process with `code`, whose last line has been written.

    It ends in any case: a thread that a player's class or a library has left, or what it wants done at the end, may
    go on for ever.
    """

    def end() -> None:
        os.write(2, b"note: what a player or a library has left running is not waited for\n")
        os._exit(code)

    timer = threading.Timer(LEAVE_S, end)
    timer.daemon = True
    timer.start()
    sys.exit(code)


@contextmanager
def sole_writer(directory: Path, what: str) -> Iterator[None]:
    """Hold `directory`, which must exist, for this process alone; the system lets go of it however the process ends.

    what: names the directory to the user, as in "the run runs/first".

    Raises:
        BusyError: another process holds it.
        OSError: the lock's file cannot be written.
    """
    lock = FileLock(directory / ".lock", timeout=LOCK_TIMEOUT_S)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(f"{what} is in use by another process: wait until it has ended, or take another") from None
    try:
        yield
    finally:
        lock.release()


def is_held(directory: Path) -> bool:
    """Whether a process holds `directory` by `sole_writer`; where that cannot be found out, none does."""
    return is_locked(directory / ".lock") is True


def is_locked(path: Path) -> bool | None:
    """Whether a process holds the lock; None where that cannot be tried, on a disk that must not be written."""
    try:
        if path.exists():
            FileLock(path, timeout=0).acquire().lock.release()
    except Timeout:
        return True
    except OSError:
        return None
    return False


@contextmanager
def low_latency() -> Iterator[None]:
    """Let threads change quickly, and spare the garbage collector all that is there already, within the block.

    Call it when everything is loaded: a full collection looks at every object of torch and the other libraries,
    190 ms on one core in which nobody gets an answer, and finds nothing among them.
    """
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval_s)

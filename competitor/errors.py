"""What can go wrong outside the network's mathematics, and with which exit code the command ends.

::

    CompetitorError                      1   anything without a code of its own
    ├── FatalError                           trying again cannot help: a person has to change something
    │   ├── ConfigError                  3   config.toml, a preset or --set is wrong
    │   ├── PlayerError                  5   unknown opponent, or a player class that cannot play
    │   ├── EngineError                  6   the chosen rink engine is not installed
    │   ├── ResumeError                  9   the run cannot be continued (another model, parts missing)
    │   ├── RecordingError              10   a recorded round or match is damaged or of another format
    │   ├── LoginError                  11   the tournament server does not accept the token
    │   ├── ProtocolVersionError        12   the tournament server speaks another version of the protocol
    │   ├── AddressError                13   the server's address is none, or missing
    │   ├── TokenError                  14   the access token is missing, empty or cannot be one
    │   ├── CertificateError            15   the server's certificate cannot be trusted
    │   └── PackageError                18   a package of an extra is not installed, or cannot be loaded
    └── TransientError                       the same command may work later
        ├── StorageError                 7   the disk is full or refuses to be written
        ├── PortError                   16   a port to listen on is taken
        ├── UnreachableError            17   the server was not reached in so many attempts
        └── BusyError                   19   another process writes to the directory

Codes of errors that are not in this tree: 2 a wrong command line (click), 4 a checkpoint that cannot be used
and 8 training that diverged (both raised by `dreamer`), 130 interrupted by Ctrl-C or SIGTERM.

Every message is one line that a user can act on: what is wrong, where, and what to do about it.
"""

import errno
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from dreamer.errors import CheckpointError, DivergenceError, DreamerError, ReplayError

EXIT_INTERRUPTED = 130

FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class CompetitorError(Exception):
    """Base of all errors of this package; `str(error)` is one line for the user."""

    exit_code: ClassVar[int] = 1


class FatalError(CompetitorError):
    """Repeating the same command gives the same error."""


class TransientError(CompetitorError):
    """Repeating the same command later may work."""


class ConfigError(FatalError):
    exit_code = 3


class PlayerError(FatalError):
    exit_code = 5


class EngineError(FatalError):
    exit_code = 6


class ResumeError(FatalError):
    exit_code = 9


class RecordingError(FatalError):
    exit_code = 10


class LoginError(FatalError):
    exit_code = 11


class ProtocolVersionError(FatalError):
    exit_code = 12


class AddressError(FatalError):
    exit_code = 13


class TokenError(FatalError):
    exit_code = 14


class CertificateError(FatalError):
    exit_code = 15


class PackageError(FatalError):
    exit_code = 18


@contextmanager
def needing(what: str, extra: str) -> Iterator[None]:
    """For the imports of `what`: what they raise becomes a PackageError that names the optional dependencies `extra`.

    Packages that do not fit each other raise anything, such as AttributeError; then the reason is told.
    """
    try:
        yield
    except Exception as error:
        install = f"{shlex.quote(sys.executable)} -m pip install 'hockey-dreamer[{extra}]'"
        known = isinstance(error, ModuleNotFoundError)
        broken = "" if known else f", which cannot be used ({printable(f'{type(error).__name__}: {error}')})"
        raise PackageError(f"{what} needs the extra '{extra}'{broken}: {install}") from error


class StorageError(TransientError):
    exit_code = 7


class PortError(TransientError):
    exit_code = 16


class UnreachableError(TransientError):
    exit_code = 17


class BusyError(TransientError):
    exit_code = 19


CODES_OF_DREAMER: dict[type[DreamerError], int] = {
    CheckpointError: 4,
    DivergenceError: 8,
    ReplayError: ResumeError.exit_code,
    DreamerError: CompetitorError.exit_code,
}


def exit_code(error: BaseException) -> int | None:
    """Exit code of the command that `error` ends; None if it is a mistake of the program, not of a user."""
    if isinstance(error, CompetitorError):
        return error.exit_code
    if isinstance(error, OSError) or _disk_is_full(error):
        return StorageError.exit_code
    for kind, code in CODES_OF_DREAMER.items():
        if isinstance(error, kind):
            return code
    return None


def message(error: BaseException) -> str:
    """What to tell the user about `error`, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return printable(error.strerror if error.filename is None else f"{error.filename}: {error.strerror}")
    return printable(str(error)) or type(error).__name__


def printable(text: str) -> str:
    """`text` in one line; what is no character to be printed, and a terminal might obey, is written as its code."""
    return plain(" ".join(text.split()))


def plain(text: str) -> str:
    """`text` with everything escaped that a terminal would obey or not show: ESC becomes \\x1b."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _disk_is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            return True
        error = error.__cause__
    return False

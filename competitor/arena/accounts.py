"""Accounts as the person who runs the arena meets them: a name, a file with its token, the list of a class.

A token lies in `tokens/NAME` below the arena's directory, readable by its owner only, ready for the daemon's
`--token-file`. Without the file the token is lost, as the store knows only its digest: the next request for the
account then makes a new one, which is also how to replace a token that others have seen.
"""

import contextlib
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from competitor.arena.store import Store, check_name
from competitor.errors import ConfigError
from dreamer.files import atomic_write

TOKENS = "tokens"
MOST_BYTES = 1 << 20  # of a list
OTHERS_WITHIN_S = 30.0  # for other processes that make accounts in the same directory


@dataclass(frozen=True)
class OpenedAccount:
    """An account that was asked for; `token` is None if it was there already, with its file."""

    name: str
    file: Path
    token: str | None


def open_accounts(
    store: Store, directory: Path, names: Sequence[str], folder: Path | None = None
) -> list[OpenedAccount]:
    """Make the accounts that do not exist yet, and the token files that are missing or do not open their account.

    folder: for the token files, None: `tokens` in the directory. Processes that do so at the same time take turns.
    Raises ConfigError (a name that cannot be used, or is a house bot's) and OSError.
    """
    if not names:
        return []
    with FileLock(directory / ".accounts.lock", timeout=OTHERS_WITHIN_S):
        return [_open_account(store, folder or directory / TOKENS, name) for name in names]


def _open_account(store: Store, folder: Path, name: str) -> OpenedAccount:
    user = store.user(name)
    if user is not None and user.role == "bot":
        raise ConfigError(f"{user.name} is a house bot: give the account another name")
    file = folder / (name if user is None else user.name)
    if user is not None and store.user_of(_secret_in(file)) == user:
        return OpenedAccount(user.name, file, None)
    token = store.add_user(name) if user is None else store.renew_token(user.name)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic_write(file, lambda stream: stream.write(f"{token}\n".encode()), mode=0o600)
    return OpenedAccount(file.name, file, token)


def _secret_in(file: Path) -> str:
    """What the file holds; nothing if it is missing or no text."""
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8").strip()
    return ""


def read_names(path: Path) -> list[str]:
    """The names in a CSV file with a column `name`; commas, semicolons or tabs stand between its cells.

    Raises ConfigError, with the line, for whatever makes it no list of different names.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: save it as CSV UTF-8") from error
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{path} is too large for a list of names: {MOST_BYTES:,} bytes are read at most")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}") from error
    return _names(path, rows)


def _names(path: Path, rows: list[tuple[int, list[str]]]) -> list[str]:
    header = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    if header.count("name") != 1:
        raise ConfigError(f"{path}: the first line has to name the columns, one of them `name`")
    lines: dict[str, int] = {}
    names = []
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise ConfigError(f"{path}, line {line}: {len(row)} cells, but the first line has {len(header)}")
        name = row[header.index("name")].strip()
        try:
            check_name(name)
        except ConfigError as error:
            raise ConfigError(f"{path}, line {line}: {error}") from error
        if (before := lines.setdefault(name.lower(), line)) != line:
            raise ConfigError(f"{path}, line {line}: {name} is in line {before} already")
        names.append(name)
    if not names:
        raise ConfigError(f"{path} has no names below its first line")
    return names

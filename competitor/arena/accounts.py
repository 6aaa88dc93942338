"""Accounts as the person who runs the arena meets them: a name, and a file with its token.

A token lies in `tokens/NAME` below the arena's directory, readable by its owner only, ready for the daemon's
`--token-file`. Without the file the token is lost, as the store knows only its digest: the next request for the
account then makes a new one, which is also how to replace a token that others have seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from competitor.arena.store import Store
from competitor.errors import ConfigError
from dreamer.files import atomic_write

TOKENS = "tokens"
OTHERS_WITHIN_S = 30.0
"""For other processes that make accounts in the same directory."""


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

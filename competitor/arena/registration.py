"""Accounts that players open for themselves with a key that the whole class knows."""

import asyncio
import hmac
import logging
from pathlib import Path

from competitor.arena.logins import Refused, WrongTries
from competitor.arena.store import Store
from competitor.errors import CompetitorError, ConfigError
from competitor.wire.budget import Budgets

LEAST_KEY = 8
MOST_KEY_BYTES = 1024
TRIES_AT_ONCE, TRIES_PER_S = 60, 1 / 30
"""Of one address: a class of 60 behind one router, and then somebody who guesses gets 2,880 tries a day."""
MOST_ACCOUNTS = 2000

log = logging.getLogger(__name__)


class Registration:
    """Opens accounts for whoever has the key."""

    def __init__(self, key: str, store: Store, tries: Budgets | None = None) -> None:
        self._key, self._store = key.encode(), store
        self._tries = Budgets(TRIES_AT_ONCE, TRIES_PER_S) if tries is None else tries
        self._wrong = WrongTries()

    async def open_account(self, name: str, key: str, address: str) -> str:
        """Open an account and return its token, which is not kept. Raises Refused."""
        if not self._tries.spend(address):
            raise Refused(429, "too many registrations from this address: try again later")
        if not hmac.compare_digest(key.strip().encode("utf-8", "surrogatepass"), self._key):
            log.warning("a wrong class key from %s", address)
            await self._wrong.one_more(address)
            raise Refused(403, "that is not the key of the class")
        try:
            token = await asyncio.to_thread(self._add, name, address)
        except ConfigError as error:
            raise Refused(409, str(error)) from error
        except CompetitorError as error:
            log.warning("no account can be opened: %s", error)
            raise Refused(503, "no account can be opened at the moment: tell your teacher") from error
        log.info("%s has registered from %s", name, address)
        return token

    def _add(self, name: str, address: str) -> str:
        if self._store.is_banned(address):
            raise Refused(403, "an account that was used from this address is banned: ask your teacher")
        if len(self._store.accounts()) >= MOST_ACCOUNTS:
            raise Refused(403, "the arena has as many accounts as it takes: tell your teacher")
        token = self._store.add_user(name)
        self._store.user_of(token, address)
        return token


def read_key(path: Path) -> str:
    """The key in a file of one line. Raises ConfigError when it cannot be read or is none."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_KEY_BYTES + 1)
        key = content.decode().strip()
    except OSError as error:
        raise ConfigError(f"the registration key {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the registration key {path} is no text") from error
    if len(key) < LEAST_KEY or len(content) > MOST_KEY_BYTES or not key.isprintable():
        raise ConfigError(f"the registration key {path} has to be one line of {LEAST_KEY} to {MOST_KEY_BYTES} letters")
    return key

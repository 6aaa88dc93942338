"""Who is let in, on both wires alike: accounts with their tokens, not too often, and nobody who guesses quickly."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from competitor.arena.store import Store, User
from competitor.errors import CompetitorError
from competitor.wire.budget import MOST_REMEMBERED
from competitor.wire.connections import Connections

WRONG_TOKEN, TOO_MANY, OUT_OF_ORDER = 401, 429, 503
FREE_TRIES = 3
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
FORGIVEN_AFTER_S = 60.0

log = logging.getLogger(__name__)


class Refused(Exception):
    """Somebody gets nothing; `status` is HTTP's, the text says why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Logins:
    """Lets accounts in. connections: is told who has logged in, and may refuse."""

    def __init__(self, accounts: Store, connections: Connections, wrong_tokens: WrongTokens) -> None:
        self._accounts, self._connections, self._wrong_tokens = accounts, connections, wrong_tokens

    async def log_in(self, token: str, address: str, transport: asyncio.BaseTransport | None) -> tuple[User, float]:
        """Return the account that the token opens and what the leaderboard shows for it.

        Raises Refused: a wrong token after the time that it costs the address.
        """
        try:
            found = await asyncio.to_thread(self._look_up, token, address)
        except CompetitorError as error:
            log.warning("nobody can log in: %s", error)
            raise Refused(OUT_OF_ORDER, "nobody can log in at the moment") from error
        if found is None:
            log.warning("a wrong token from %s", address)
            await asyncio.sleep(self._wrong_tokens.wait_s(address))
            raise Refused(WRONG_TOKEN, "no account has this token")
        if transport is None or transport.is_closing():
            raise Refused(OUT_OF_ORDER, "the connection is gone")
        user, _ = found
        if not self._connections.log_in(transport, user.name):
            log.warning("%s has too many connections: one more is refused", user.name)
            raise Refused(TOO_MANY, "the account has too many connections")
        return found

    def _look_up(self, token: str, address: str) -> tuple[User, float] | None:
        user = self._accounts.user_of(token, address)
        return None if user is None else (user, self._accounts.rating(user.name).shown)


class WrongTokens:
    """Makes an address wait that tries wrong tokens: the first few cost nothing, each later one twice the time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, tuple[int, float]] = OrderedDict()  # address: how many, when the last one came

    def wait_s(self, address: str) -> float:
        """Note a wrong token; returns the seconds after which its refusal may be said."""
        now_s = self._clock()
        count, last_s = self._tries.pop(address, (0, now_s))
        count = 1 if now_s - last_s > FORGIVEN_AFTER_S else count + 1
        self._tries[address] = count, now_s
        if len(self._tries) > MOST_REMEMBERED:
            self._tries.popitem(last=False)
        if count <= FREE_TRIES:
            return 0.0
        return float(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(count - FREE_TRIES - 1, 10)))

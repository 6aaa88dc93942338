"""Who is let in, on both wires alike: accounts with their tokens, not too often, and nobody who guesses quickly."""

import asyncio
import logging

from competitor.arena.store import Store, User
from competitor.errors import CompetitorError
from competitor.wire.budget import Budgets
from competitor.wire.connections import Connections

WRONG_TOKEN, TOO_MANY, OUT_OF_ORDER = 401, 429, 503
WRONG_AT_ONCE, WRONG_PER_S = 3, 1 / 20  # wrong tokens or keys of one address that are refused at once
REFUSED_AFTER_S = 8.0  # all others: guessing takes time

log = logging.getLogger(__name__)


class Refused(Exception):
    """Somebody gets nothing; `status` is HTTP's, the text says why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class WrongTries:
    """Makes an address wait that tries wrong tokens or keys."""

    def __init__(self) -> None:
        self._at_once = Budgets(WRONG_AT_ONCE, WRONG_PER_S)

    async def one_more(self, address: str) -> None:
        """Return when the refusal may be said."""
        if not self._at_once.spend(address):
            await asyncio.sleep(REFUSED_AFTER_S)


class Logins:
    """Lets accounts in. connections: is told who has logged in, and may refuse."""

    def __init__(self, accounts: Store, connections: Connections) -> None:
        self._accounts, self._connections = accounts, connections
        self._wrong = WrongTries()

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
            await self._wrong.one_more(address)
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

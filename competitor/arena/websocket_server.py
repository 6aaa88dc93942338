"""The arena's WebSocket: logins by token, frames in and out, heartbeats. What is said is in websocket_client."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from competitor.arena.lobby import Lobby
from competitor.arena.logins import WRONG_TOKEN, Logins, Refused
from competitor.arena.participant import Later
from competitor.arena.store import User
from competitor.arena.websocket_client import WebSocketClient
from competitor.wire import messages
from competitor.wire.budget import Budget

log = logging.getLogger(__name__)

HEARTBEAT_S = 20.0  # between two pings. A client that has not answered half that time later is gone.
CLOSE_S = 1.0
MOST_UNSENT_BYTES = 1 << 20
"""That may wait for a client that does not read; the first steps of 1024 matches have 0.7 MB."""
MESSAGES_AT_ONCE, MESSAGES_PER_S = 2000, 100.0
"""Messages and pings that answer no open question. Answers may be on their way when hundreds of matches end at once."""


class WebSocketServer:
    """Serves `/play` of an aiohttp application.

    Args:
        deadline_s: time for an answer; later: its timers, None: the event loop's.
        heartbeat_s: seconds between two pings.
    """

    def __init__(
        self,
        lobby: Lobby,
        logins: Logins,
        *,
        deadline_s: float = 10.0,
        heartbeat_s: float = HEARTBEAT_S,
        later: Later | None = None,
    ) -> None:
        self._lobby, self._logins = lobby, logins
        self._deadline_s, self._later = deadline_s, later
        self._heartbeat_s = heartbeat_s
        self._sockets: set[web.WebSocketResponse] = set()
        self._closing = False

    def add_to(self, app: web.Application) -> None:
        app.router.add_get(messages.PATH, self._serve)

    async def close(self) -> None:
        """Close every connection; a client that does not answer to that is cut off."""
        self._closing = True
        await asyncio.gather(*(socket.close(code=WSCloseCode.GOING_AWAY) for socket in self._sockets))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise Refused(WRONG_TOKEN, "no account has this token")
            user, rating = await self._logins.log_in(token.strip(), request.remote or "nowhere", request.transport)
        except Refused as refused:
            headers = {"WWW-Authenticate": "Bearer"} if refused.status == WRONG_TOKEN else None
            return web.Response(status=refused.status, text=f"{refused}\n", headers=headers)
        socket = web.WebSocketResponse(
            timeout=CLOSE_S,
            heartbeat=self._heartbeat_s,
            autoping=False,
            max_msg_size=messages.MOST_BYTES,
            compress=False,
        )
        await socket.prepare(request)
        transport = request.transport
        if transport is not None and not self._closing:
            self._sockets.add(socket)
            try:
                await self._converse(socket, transport, user, rating)
            finally:
                self._sockets.discard(socket)
                transport.abort()  # what a client has not read by now it never will
        return socket

    async def _converse(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport, user: User, rating: float
    ) -> None:
        outbox = Outbox(socket, transport.abort)
        loop = asyncio.get_running_loop()
        later = self._later or loop.call_later
        client = WebSocketClient(user, rating, self._lobby, outbox.put, outbox.put_close, self._deadline_s, later)
        late = later(self._deadline_s, client.late)
        sending = loop.create_task(outbox.send_all())
        budget = Budget(MESSAGES_AT_ONCE, MESSAGES_PER_S)
        try:
            async for frame in socket:
                if not (await _take(frame, socket, client) or budget.spend()):
                    log.warning("%s is cut off: it sends too much that nobody asked for", user.name)
                    transport.abort()
                    break
        finally:
            late.cancel()
            sending.cancel()
            log.info("%s is gone", user.name)
            client.gone()
            with contextlib.suppress(asyncio.CancelledError):
                await sending


async def _take(frame: WSMessage, socket: web.WebSocketResponse, client: WebSocketClient) -> bool:
    """Deal with a frame; returns whether it was asked for."""
    if frame.type is WSMsgType.TEXT:
        return client.heard(frame.data)
    if frame.type is WSMsgType.BINARY:
        client.object("binary frames are not read")
    elif frame.type is WSMsgType.PING:
        with contextlib.suppress(ConnectionError):
            await socket.pong(frame.data)
    return False


class Outbox:
    """Messages on their way to one client. Putting one in never waits, not even for a client that does not read."""

    def __init__(self, socket: web.WebSocketResponse, cut_off: Callable[[], None]) -> None:
        self._socket = socket
        self._cut_off = cut_off
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._unsent = 0

    def put(self, message: messages.ServerMessage) -> None:
        """Send it, after those before it."""
        if self._unsent > MOST_UNSENT_BYTES:
            self._cut_off()
            return
        text = messages.encode(message)
        self._unsent += len(text)
        self._queue.put_nowait(text)

    def put_close(self) -> None:
        """Close the connection, when all before it is sent."""
        self._queue.put_nowait(None)

    async def send_all(self) -> None:
        """Send what comes, until the connection is lost."""
        with contextlib.suppress(ConnectionError):
            while (text := await self._queue.get()) is not None:
                await self._socket.send_str(text)
                self._unsent -= len(text)
        await self._socket.close(code=WSCloseCode.POLICY_VIOLATION)

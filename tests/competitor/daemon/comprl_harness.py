"""The comprl wire at a real tournament and engine, running in a thread; servers are in `misbehaving_server`."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from competitor.daemon.comprl import ComprlWire
from competitor.daemon.logs import Redaction
from tests.competitor.daemon.misbehaving_server import TIMEOUT_S, Peer, Server
from tests.competitor.daemon.shared import OBS, TOKEN, CountedRetries, EchoBrain, Rig, WireThread, echo, wait_until
from tests.competitor.engine.fakes import FakeBrain

ANSWER = echo(OBS[12])  # to the first step of a match
TURNS = 20  # of an event loop: more than anything takes that waits for nobody


class Complaints(logging.Handler):
    """Collects what asyncio and Twisted log: exceptions that nobody caught."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record.getMessage())

    def __call__(self, event: dict[str, Any]) -> None:
        if event["log_level"] >= LogLevel.warn:
            self.found.append(formatEvent(event))

    def listen(self) -> None:
        logging.getLogger("asyncio").addHandler(self)
        globalLogPublisher.addObserver(self)  # type: ignore[arg-type]

    def stop(self) -> None:
        logging.getLogger("asyncio").removeHandler(self)
        globalLogPublisher.removeObserver(self)  # type: ignore[arg-type]


class SetTime(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still until a test sets it."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


class Daemon(WireThread):
    """The comprl wire in a thread, without complaints of asyncio and Twisted.

    With `fake_time` its clock stands still until `pass_time`. rig: options of the tournament.
    """

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        token: str = TOKEN,
        games: int | None = None,
        brain: FakeBrain | None = None,
        retry_s: float = 0.01,
        fake_time: bool = False,
        attempts: int = 0,
        connections: int = 1,
        **rig: Any,
    ) -> None:
        rigged = Rig(brain or EchoBrain(), games=games, redact=Redaction(token), **rig)
        super().__init__(rigged, CountedRetries(retry_s, attempts))
        self._loop = SetTime() if fake_time else None
        self.wire = ComprlWire(
            host,
            port,
            token,
            rigged.tournament,
            connections=connections,
            retries=lambda: self.backoff,
            new_loop=(lambda: self._loop) if self._loop else None,  # type: ignore[arg-type, return-value]
        )

    def __enter__(self) -> Self:
        self._complaints = Complaints()
        self._complaints.listen()
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        super().__exit__(kind)
        self._complaints.stop()
        assert kind is not None or not self._complaints.found, self._complaints.found

    def has_kept(self, *endings: str) -> list[str]:
        """Wait until so many matches are over, which have to have ended like this; returns why they were given up."""
        wait_until(lambda: len(self.kept.matches) >= len(endings))
        assert tuple(match.ending for match in self.kept.matches) == endings
        return [match.reason for match in self.kept.matches]

    def pass_time(self, seconds: float) -> None:
        """Have the wire see this time pass, after all that has reached it before; returns when it has."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._pass_time(self._loop, seconds), self._loop).result(TIMEOUT_S)

    def settle(self) -> None:
        """Return when the wire has done all that has been asked of it before."""
        self.pass_time(0.0)

    async def _pass_time(self, loop: SetTime, seconds: float) -> None:
        for passing_s in (seconds, 0.0):
            for _ in range(TURNS):
                await asyncio.sleep(0)
            loop.now_s += passing_s

    def wait_until_it_waits(self) -> None:
        """Wait until an attempt to connect has failed or a connection is lost."""
        assert self.backoff.waits.acquire(timeout=TIMEOUT_S)


@contextmanager
def connected(*, in_match: bool = False, **options: Any) -> Iterator[tuple[Server, Daemon, Peer]]:
    """A server, the wire that plays on it, and its first connection: in the queue, or at the first step of a match."""
    with Server() as server, Daemon(server.port, **options) as daemon:
        peer = server.accept()
        peer.queue()
        if in_match:
            assert peer.action(peer.start()) == ANSWER
        yield server, daemon, peer


def play_on(server: Server) -> Peer:
    """The wire connects again and plays."""
    peer = server.accept()
    peer.queue()
    assert peer.action(peer.start()) == ANSWER
    return peer

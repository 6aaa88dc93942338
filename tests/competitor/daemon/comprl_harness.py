"""A tournament that does as the test says, and the comprl wire running in a thread."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from competitor.daemon.comprl import ComprlConnection, ComprlWire
from competitor.daemon.logs import Redaction
from competitor.daemon.reconnecting import Reconnector
from competitor.daemon.telemetry import Telemetry
from competitor.daemon.tournament import Tournament
from competitor.engine.session import Reply
from competitor.wire.backoff import Retries
from tests.competitor.daemon.misbehaving_server import TIMEOUT_S, Peer, Server
from tests.competitor.daemon.shared import TOKEN, CountedBackoff
from tests.competitor.wire.boxes import Value, first_box, write_box

ACTION = (0.5, -0.25, 0.125, -1.0)
TURNS = 20  # of an event loop: more than anything takes that waits for nobody
Event = tuple[Any, ...]


class FakeSession:
    """One match at the fake tournament."""

    def __init__(self, match_id: str) -> None:
        self.match_id = match_id
        self.steps: list[list[float]] = []


class FakeParticipant:
    """One connection's side of the fake tournament; tells its tournament everything that the wire does."""

    def __init__(self, tournament: FakeTournament, name: str) -> None:
        self.name = name
        self._tournament = tournament
        self.session: FakeSession | None = None

    def heard(self) -> None:
        self._tournament.heard += 1

    def wants_match(self) -> bool:
        self._tournament.check("wants_match")
        wanted = self._tournament.wants.pop(0) if self._tournament.wants else True
        self._tournament.note("ready", wanted)
        return wanted

    def begin(self, match_id: str) -> FakeSession:
        self._tournament.check("begin")
        self.session = FakeSession(match_id)
        self._tournament.note("begin", match_id)
        return self.session

    def step(self, session: FakeSession, obs: Sequence[float], reply: Reply) -> None:
        session.steps.append(list(obs))
        self._tournament.check("step")
        self._tournament.on_step(session, list(obs), reply)

    def end(self, session: FakeSession, own: int, other: int, *, won: bool | None, saved: Callable[[], None]) -> None:
        self._tournament.check("end")
        self.session = None
        self._tournament.note("end", session.match_id, own, other, won)
        self._tournament.on_end(saved)

    def abandon(self, session: FakeSession, reason: str) -> None:
        self._tournament.note("abandon", session.match_id, reason)

    def stuck(self) -> list[FakeSession]:
        return [self.session] if self._tournament.is_stuck and self.session is not None else []

    def closed(self, reason: str) -> None:
        self._tournament.note("closed", self.name, reason)


class FakeTournament:
    """Answers every step with ACTION and saves every match at once, from other threads, unless a test changes that."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.wants: list[bool] = []  # answers to come; then always True
        self.broken: set[str] = set()  # methods that raise
        self.participants: list[FakeParticipant] = []
        self.heard = 0
        self.is_stuck = False
        self.redact = Redaction(TOKEN)
        self.on_step: Callable[[FakeSession, list[float], Reply], None] = lambda session, obs, reply: elsewhere(
            reply, ACTION
        )
        self.on_end: Callable[[Callable[[], None]], None] = elsewhere

    def join(self, name: str) -> FakeParticipant:
        self.check("join")
        self.note("open", name)
        self.participants.append(FakeParticipant(self, name))
        return self.participants[-1]

    def check(self, method: str) -> None:
        if method in self.broken:
            raise RuntimeError(f"{method} is broken")

    def note(self, *event: Any) -> None:
        self.events.put(event)

    def wait_for(self, kind: str) -> Event:
        """The next event of this kind; those before it are dropped."""
        while (event := self.events.get(timeout=TIMEOUT_S))[0] != kind:
            pass
        return event

    def drain(self) -> list[Event]:
        """The events that nobody has waited for."""
        events = []
        while not self.events.empty():
            events.append(self.events.get())
        return events


def elsewhere(function: Callable[..., object], *args: object) -> None:
    """Call it in another thread."""
    threading.Thread(target=function, args=args).start()


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


class Daemon:
    """The wire in a thread; it is asked to leave at the end of the `with` block, and has to, without complaints.

    With `fake_time` its clock stands still until `pass_time`.
    """

    def __init__(
        self,
        port: int,
        tournament: FakeTournament | Tournament | None = None,
        *,
        host: str = "127.0.0.1",
        token: str = TOKEN,
        retry_s: float = 0.01,
        fake_time: bool = False,
        attempts: int = 0,
        **options: Any,
    ) -> None:
        self.tournament = FakeTournament() if tournament is None else tournament
        self.telemetry = Telemetry()
        self.backoff = CountedBackoff(retry_s)
        self._loop = SetTime() if fake_time else None
        self.wire = ComprlWire(
            host,
            port,
            token,
            cast(Tournament, self.tournament),
            retries=lambda: Retries(self.backoff, attempts),
            telemetry=self.telemetry,
            new_loop=(lambda: self._loop) if self._loop else None,  # type: ignore[arg-type, return-value]
            **options,
        )
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.wire.run()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Daemon:
        self._complaints = Complaints()
        self._complaints.listen()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.wire.leave()
        self._thread.join(TIMEOUT_S)
        self._complaints.stop()
        assert not self._thread.is_alive(), "the wire does not leave"
        assert kind is not None or not self._complaints.found, self._complaints.found
        if kind is None and self._error is not None:
            raise self._error

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def ended(self) -> BaseException | None:
        """Wait until the wire has ended by itself; return what it raised."""
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive(), "the wire goes on"
        error, self._error = self._error, None
        return error

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
def connected(
    tournament: FakeTournament | None = None, *, in_match: bool = False, **options: Any
) -> Iterator[tuple[Server, Daemon, Peer]]:
    """A server, the wire that plays on it, and its first connection: in the queue, or at the first step of a match."""
    with Server() as server, Daemon(server.port, tournament, **options) as daemon:
        peer = server.accept()
        peer.queue()
        if in_match:
            assert peer.action(peer.start()) == list(ACTION)
        yield server, daemon, peer


class Line:
    """A connection's transport without a network: keeps what is written, and whether it was closed."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = self.is_paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class HandMovedLoop:
    """Of an event loop what a connection needs, in this thread; time passes when the test says so."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._later: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self._now_s

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.Future(loop=cast(asyncio.AbstractEventLoop, self))

    def call_later(self, delay_s: float, function: Callable[..., object], *args: object) -> None:
        self._later.append((self._now_s + delay_s, lambda: function(*args)))

    def call_soon_threadsafe(self, function: Callable[..., object], *args: object) -> None:
        function(*args)

    def advance(self, seconds: float) -> None:
        self._now_s += seconds
        for at_s, work in self._later:
            if at_s <= self._now_s:
                work()


class Unplugged:
    """A connection that is fed by hand, in this thread; the fake tournament answers at once."""

    name = "comprl-1"

    def __init__(self, tournament: FakeTournament | None = None, token: str = TOKEN) -> None:
        self.tournament = FakeTournament() if tournament is None else tournament
        if tournament is None:
            self.tournament.on_step = lambda session, obs, reply: reply(ACTION)
        self.tournament.on_end = lambda saved: saved()
        self.clock, self.line = HandMovedLoop(), Line()
        loop = cast(asyncio.AbstractEventLoop, self.clock)
        self.connection = ComprlConnection(
            cast(Reconnector, self), token.encode(), cast(Tournament, self.tournament), "here:1", loop
        )
        self.connection.connection_made(cast(asyncio.Transport, self.line))

    def feed(self, data: bytes) -> None:
        """Bytes from the server."""
        self.connection.data_received(data)

    def ask(self, tag: str | bytes, command: str, **fields: Value) -> None:
        """A request of the server."""
        self.feed(write_box({"_ask": tag, "_command": command, **fields}))

    def sent(self) -> list[tuple[bytes, bytes]]:
        """Tag and bytes of each answer so far."""
        data, found = self.line.written, []
        while (complete := first_box(data)) is not None:
            box, raw = complete
            found.append((box["_answer"] if "_answer" in box else box["_error"], raw))
            data = data[len(raw) :]
        assert not data
        return found

    def answers(self) -> dict[str, bytes]:
        """The bytes of each answer so far by its tag, in the order in which they were sent."""
        sent = self.sent()
        assert len(dict(sent)) == len(sent), "a tag is answered twice"
        return {tag.decode(): raw for tag, raw in sent}

    def useful(self) -> None: ...

    def logged_in(self) -> None: ...

"""What the other side may take of the arena: real sockets that flood, stall and never read, beside a running match."""

import asyncio
import contextlib
import gc
import os
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError

from competitor.arena.comprl_connection import (
    MOST_BYTES_BEFORE_LOGIN,
    MOST_BYTES_OF_A_BOX,
    REQUESTS_AT_ONCE,
    Connection,
)
from competitor.arena.lobby import LOOKED_AT_OF_ONE, MOST_PLACES
from competitor.arena.logins import WRONG_AT_ONCE
from competitor.arena.web import REQUESTS_AT_ONCE as PAGES_AT_ONCE
from competitor.arena.websocket_server import MESSAGES_AT_ONCE
from competitor.wire.budget import MOST_REMEMBERED, Budgets
from competitor.wire.connections import most_connections
from tests.competitor.arena.servers import HOST, Clock, Peer, Servers, hears_the_end, in_match, in_servers, run
from tests.competitor.wire.boxes import Box, write_box

ENDLESS = struct.pack(">H", 1) + b"k" + struct.pack(">H", 60_000) + bytes(60_000)
"""A key and its value; with more of them the box never ends."""


@contextlib.asynccontextmanager
async def raw(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def swallowed(peer: Peer, data: bytes, most: int) -> int:
    """Send `data` again and again until the server hangs up, `most` bytes in all; returns how many it took."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most:
            peer.writer.write(data)
            await peer.writer.drain()
            sent += len(data)
            await asyncio.sleep(0)
            if peer.writer.transport.is_closing() or peer.reader.at_eof():
                return sent
    return sent


async def goes_on(ada: Peer, step: Box, bob: Peer, other: Box) -> None:
    """The match of `in_match` is played on."""
    ada.act(step)
    bob.act(other)
    await ada.expect("Step")
    await bob.expect("Step")


async def gone(peer: Peer) -> None:
    """Wait until the server has hung up, whatever it says before."""
    with contextlib.suppress(ConnectionError):
        while await peer.reader.read(65_536):
            pass


@in_servers()
async def test_a_box_that_never_ends_is_cut_off_before_the_login(servers: Servers) -> None:
    async with in_match(servers) as (ada, step, bob, other), servers.peer() as stranger:
        await stranger.expect("Auth")
        stranger.writer.write(ENDLESS[: MOST_BYTES_BEFORE_LOGIN + 1])
        await gone(stranger)
        await goes_on(ada, step, bob, other)


@in_servers()
async def test_a_box_that_never_ends_is_cut_off_after_the_login(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    async with servers.peer() as ada:
        await ada.login("ada")
        taken = await swallowed(ada, ENDLESS, 1 << 30)
        # What lies in the system's buffers on both sides is none of the arena's memory.
        assert taken < 32 << 20
        await servers.until(lambda: servers.lobby.waiting == [])
    assert f"more than {MOST_BYTES_OF_A_BOX} bytes in a box" in caplog.text


@in_servers()
async def test_boxes_that_answer_nothing_count_as_well_before_the_login(servers: Servers) -> None:
    async with servers.peer() as stranger:
        await stranger.expect("Auth")
        question = write_box({"_ask": b"1", "_command": b"Hm", "fill": bytes(500)})
        stranger.writer.write(question * (MOST_BYTES_BEFORE_LOGIN // len(question) + 1))
        await gone(stranger)


@in_servers()
async def test_own_requests_are_answered_and_too_many_of_them_cut_off(servers: Servers) -> None:
    async with servers.peer() as ada:
        await ada.login("ada")
        question = {"_ask": b"1", "_command": b"Hm"}
        for _ in range(REQUESTS_AT_ONCE):
            ada.write(question)
        for _ in range(REQUESTS_AT_ONCE):
            assert (await ada.request())["_error_code"] == b"UNHANDLED"
        for _ in range(10 * REQUESTS_AT_ONCE):
            ada.write(question)
        await gone(ada)
        await servers.until(lambda: servers.lobby.waiting == [])


@in_servers()
async def test_a_closed_connection_leaves_no_cycle_behind(servers: Servers) -> None:
    async with servers.peer() as ada:
        await ada.login("ada")
        gc.collect()
        (connection,) = [weakref.ref(one) for one in gc.get_objects() if type(one) is Connection]
        gc.disable()
        try:
            ada.writer.write(ENDLESS[:5000])  # part of a box is waiting
            await asyncio.sleep(0)
            ada.writer.close()
            await servers.until(lambda: connection() is None)
        finally:
            gc.enable()


@in_servers()
async def test_who_does_not_log_in_is_closed_in_time_and_who_has_is_not(servers: Servers) -> None:
    async with (
        in_match(servers) as (ada, step, bob, other),
        servers.peer() as idle,
        raw(servers.http_port) as (half, pen),
    ):
        await idle.expect("Auth")
        pen.write(b"GET / HTTP/1.1\r\nHost: ")
        await servers.until(lambda: len(servers.connections) == 4)
        servers.clock.now_s += 14.9
        servers.connections.close_overdue()
        assert len(servers.connections) == 4
        servers.clock.now_s += 0.2
        servers.connections.close_overdue()
        await gone(idle)
        with contextlib.suppress(ConnectionError):
            assert await half.read() == b""
        await goes_on(ada, step, bob, other)


@in_servers()
async def test_a_header_that_comes_byte_by_byte_gains_no_time(servers: Servers) -> None:
    async with raw(servers.http_port) as (reader, writer):
        writer.write(b"GET /play HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"401" in await reader.readline()
        servers.clock.now_s += 10.0  # a whole request had come: its time began anew at 1000
        writer.write(b"GET /play HTTP/1.1\r\nHost: x\r\n\r\n")
        while b"401" not in await reader.readline():
            pass
        for _ in range(20):
            servers.clock.now_s += 1.0
            writer.write(b"G")
            servers.connections.close_overdue()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        assert len(servers.connections) == 0


@in_servers(most=8)
async def test_newcomers_replace_idle_ones_and_never_who_plays(servers: Servers) -> None:
    async with in_match(servers) as (ada, step, bob, other), contextlib.AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(servers.peer()) for _ in range(30)]
        cyd = await stack.enter_async_context(servers.peer())
        await cyd.login("cyd")
        assert len(servers.connections) == 6  # three quarters of 8, all from one address
        for peer in idle[:25]:
            await gone(peer)
        await goes_on(ada, step, bob, other)


@in_servers(most=4, tick_s=60.0)
async def test_when_everybody_has_logged_in_the_next_one_is_refused(servers: Servers) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for user in ("ada", "bob", "cyd"):
            await (await stack.enter_async_context(servers.peer())).login(user)
        await gone(await stack.enter_async_context(servers.peer()))
        assert len(servers.connections) == 3


@in_servers(most=8, tick_s=60.0)
async def test_an_account_has_half_of_all_connections_at_most(servers: Servers) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            await (await stack.enter_async_context(servers.peer())).login("ada")
        fifth = await stack.enter_async_context(servers.peer())
        fifth.answer(await fifth.expect("Auth"), token=b"token of ada", version=b"1")
        assert await fifth.text("Error") == "Too many connections" and await fifth.closed()
        with pytest.raises(WSServerHandshakeError) as refused:
            await stack.enter_async_context(servers.socket("ada"))
        assert refused.value.status == 429
        await (await stack.enter_async_context(servers.peer())).login("bob")


@in_servers()
async def test_a_visitor_who_says_too_much_is_cut_off_and_a_match_goes_on(servers: Servers) -> None:
    async with in_match(servers) as (ada, step, bob, other), servers.socket("cyd") as cyd:
        with contextlib.suppress(ConnectionError):
            for _ in range(2 * MESSAGES_AT_ONCE):
                await cyd.send_str("nonsense")
        while (await cyd.receive()).type is WSMsgType.TEXT:
            pass
        await goes_on(ada, step, bob, other)


@in_servers()
async def test_a_visitor_who_floods_with_pings_is_cut_off(servers: Servers) -> None:
    async with servers.socket("ada", autoping=False) as ada:
        with contextlib.suppress(ConnectionError):
            for _ in range(2 * MESSAGES_AT_ONCE):
                await ada.ping()
        while (await ada.receive()).type is WSMsgType.PONG:
            pass
        await servers.until(lambda: len(servers.connections) == 0)


@in_servers(tick_s=60.0)
async def test_a_visitor_who_does_not_read_is_cut_off(servers: Servers) -> None:
    async with raw(servers.http_port) as (reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.write(
            b"GET /play HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token of ada\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        mask = b"\0\0\0\0"
        for text in (b'{"type":"hello","version":1,"client":"x"}', b'{"type":"ready","matches":1000}'):
            writer.write(bytes([0x81, 0x80 | len(text)]) + mask + text)
        await servers.until(lambda: len(servers.lobby.waiting) == MOST_PLACES)
        writer.write((bytes([0x81, 0x80 | 2]) + mask + b"{}") * 40_000)
        await servers.until(lambda: len(servers.connections) == 0 and servers.lobby.waiting == [])


@in_servers(tick_s=60.0)
async def test_an_account_gets_so_many_places_over_all_its_connections(servers: Servers) -> None:
    async with servers.socket("ada") as one, servers.socket("ada") as two, servers.socket("bob") as bob:
        for client in (one, two, bob):
            await client.send_str('{"type":"hello","version":1,"client":"x"}')
            await client.send_str('{"type":"ready","matches":200}')
        await servers.until(lambda: len(servers.lobby.waiting) == MOST_PLACES + 200)
        servers.lobby.tick()
        assert len(servers.lobby.matches) == LOOKED_AT_OF_ONE


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("request_bytes", "codes"),
    [
        ("GET /play?count=ü HTTP/1.1\r\nHost: x\r\n\r\n".encode(), {400, 401}),
        ("GET /ü HTTP/1.1\r\nHost: x\r\n\r\n".encode(), {400, 404}),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + 9000 * b"x" + b"\r\n\r\n", {400, 431}),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + 200 * b"X: y\r\n" + b"\r\n", {400, 404, 431}),
        (b"GET /" + 9000 * b"x" + b" HTTP/1.1\r\nHost: x\r\n\r\n", {400, 414}),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", {400}),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", {400}),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", {400}),
        (b"BREW /play HTTP/1.1\r\nHost: x\r\n\r\n", {400, 405}),
        (b"GET\0 / HTTP/1.1\r\n\r\n", {400}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
        (b"GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
        (b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", {400}),
        (b"GET /play HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\njunk", {401}),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_what_is_no_good_http_is_a_plain_4xx(
    request_bytes: bytes, codes: set[int], caplog: pytest.LogCaptureFixture
) -> None:
    async def check(servers: Servers) -> None:
        async with raw(servers.http_port) as (reader, writer):
            writer.write(request_bytes)
            assert status(await reader.readline()) in codes

    run(check)
    assert "Traceback" not in caplog.text and "%s" not in caplog.text


@in_servers(clock=Clock())
async def test_an_address_that_asks_for_too_many_pages_is_refused_for_a_while(servers: Servers) -> None:
    async with ClientSession() as session:
        seen = []
        for _ in range(PAGES_AT_ONCE + 1):
            async with session.get(f"http://{HOST}:{servers.http_port}/nothing") as answer:
                seen.append((answer.status, answer.headers.get("Retry-After")))
    assert seen == [(404, None)] * PAGES_AT_ONCE + [(429, "1")]


@in_servers()
async def test_wrong_tokens_take_time_and_are_logged_without_themselves(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(WRONG_AT_ONCE - 1):
        async with servers.peer() as peer:
            peer.answer(await peer.expect("Auth"), token=b"sesame", version=b"1")
            assert await peer.text("Error") == "Authentication failed"
    async with ClientSession() as session:
        with pytest.raises(WSServerHandshakeError):
            headers = {"Authorization": "Bearer sesame"}
            await session.ws_connect(f"http://{HOST}:{servers.http_port}/play", headers=headers)
    async with servers.peer() as peer:
        peer.answer(await peer.expect("Auth"), token=b"sesame", version=b"1")
        await servers.until(lambda: caplog.text.count("a wrong token from 127.0.0.1") == WRONG_AT_ONCE + 1)
        await peer.is_heard()  # and nothing has been said before
    assert "sesame" not in caplog.text


def test_budgets_fill_up_again_and_are_bounded() -> None:
    clock = Clock()
    budgets = Budgets(3, 2.0, clock)
    assert [budgets.spend("a") for _ in range(4)] == [True, True, True, False] and budgets.spend("b")
    clock.now_s += 1.0
    assert [budgets.spend("a") for _ in range(3)] == [True, True, False]
    for number in range(MOST_REMEMBERED):
        budgets.spend(number)
    assert budgets.spend("a")  # forgotten


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = most = 0
    try:
        in_use = len(os.listdir("/dev/fd"))
        most = in_use + 32 + 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
        yield most
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_connections_leave_descriptors_for_everything_else(few_descriptors: int) -> None:
    assert 18 <= most_connections() <= 22


@in_servers(ends=[("disconnected", "ada")])
async def test_an_account_that_is_cut_off_loses_its_match(servers: Servers) -> None:
    async with in_match(servers) as (ada, _, bob, _other), servers.peer() as stranger:
        await stranger.expect("Auth")
        servers.connections.drop("ada")
        await gone(ada)
        assert await hears_the_end(bob) == [0.0, 0.0]
        assert len(servers.connections) == 2

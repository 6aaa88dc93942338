"""The arena's WebSocket with clients that know nothing but JSON: matches, faults, and both wires at one table."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from competitor.arena.lobby import CLOSED
from competitor.errors import StorageError
from tests.competitor.arena.servers import HOST, STILL, Peer, Servers, hears_the_end, in_servers, run
from tests.competitor.wire.boxes import read_floats

LONGEST = 251
Message = dict[str, Any]


async def hear(socket: ClientWebSocketResponse) -> Message:
    message: Message = json.loads(await socket.receive_str())
    return message


async def expect(socket: ClientWebSocketResponse, kind: str) -> Message:
    message = await hear(socket)
    assert message["type"] == kind, message
    return message


async def say(socket: ClientWebSocketResponse, kind: str, **fields: Any) -> None:
    await socket.send_str(json.dumps({"type": kind, **fields}))


async def act(socket: ClientWebSocketResponse, step: Message, action: Any = STILL) -> None:
    await say(socket, "action", match=step["match"], step=step["step"], action=action)


async def greet(socket: ClientWebSocketResponse, matches: int = 1) -> Message:
    await say(socket, "hello", version=1, client="test")
    welcome = await expect(socket, "welcome")
    if matches:
        await say(socket, "ready", matches=matches)
    return welcome


@asynccontextmanager
async def in_match(servers: Servers, places: int = 1) -> AsyncIterator[tuple[ClientWebSocketResponse, Peer, Message]]:
    """ada over the WebSocket against bob over comprl: both connections, and ada's first step."""
    async with servers.socket("ada") as ada, servers.peer() as bob:
        await greet(ada, places)
        await bob.login("bob")
        await expect(ada, "start")
        yield ada, bob, await expect(ada, "step")


async def play(socket: ClientWebSocketResponse, matches: int, most: int = 1) -> list[Message]:
    """Play so many matches, at most `most` at once; returns the ends and asserts that no match is mixed up."""
    steps: dict[str, int] = {}
    ends: list[Message] = []
    while len(ends) < matches:
        message = await hear(socket)
        if message["type"] == "start":
            assert message["match"] not in steps and message["opponent"] and message["rounds"] >= 1
            steps[message["match"]] = 0
            assert len(steps) - len(ends) <= most
        elif message["type"] == "step":
            steps[message["match"]] += 1
            assert message["step"] == steps[message["match"]] and len(message["obs"]) == 18
            await act(socket, message)
        else:
            assert message["type"] == "end", message
            ends.append({**message, "steps": steps[message["match"]]})
            left = matches - len(ends)
            if left < most:
                await say(socket, "ready", matches=left)
            await say(socket, "seen", match=message["match"])
    return ends


@in_servers(rounds=4)
async def test_a_whole_match(servers: Servers) -> None:
    async with servers.socket("ada") as ada, servers.socket("bob") as bob:
        welcome = await greet(ada)
        assert welcome.items() >= {"version": 1, "player": "ada", "deadline_s": 10.0, "rating": 0.0}.items()
        await greet(bob)
        ends = [*await asyncio.gather(play(ada, 1), play(bob, 1))]
        (result,) = servers.store.results
        for (end,), user in zip(ends, ("ada", "bob"), strict=True):
            assert end["match"] == str(result.match_id) and end["steps"] == 4 * LONGEST
            assert (end["own"], end["other"], end["won"]) == (0, 0, False)
            assert end["rating"] == servers.store.rating(user).shown != 0.0
        await servers.until(lambda: servers.lobby.waiting == [])


def test_both_wires_at_one_table() -> None:
    """The one sees the mirror picture of what the other one sees, to the last bit."""

    async def check(servers: Servers) -> None:
        async with servers.peer() as bob, servers.socket("ada") as ada:
            await bob.login("bob")
            await greet(ada)
            start = await expect(ada, "start")
            assert start == {"type": "start", "match": start["match"], "opponent": "bob", "rounds": 1}
            seen = []

            async def watch() -> None:
                while (message := await hear(ada))["type"] == "step":
                    seen.append(message["obs"])
                    await act(ada, message, [0.5, 0.25, -0.1, 0])
                assert message["type"] == "end"

            await asyncio.gather(watch(), bob.play(1))
            other = [read_floats(box["obv"]) for box in bob.heard if box["_command"] == b"Step"]
            assert len(seen) == len(other) > 100
            for one, two in zip(seen, other, strict=True):
                assert one[0:2] == [-two[6], -two[7]] and one[2] == two[8] and one[16:] == two[:15:-1]
                assert math.copysign(1, one[7]) == -math.copysign(1, two[1])

    assert set(run(check).results[0].users) == {"ada", "bob"}


@in_servers(ends=[("played", None)] * 20)
async def test_many_matches_at_once_over_one_connection(servers: Servers) -> None:
    async with servers.socket("ada") as ada, servers.socket("bob") as bob:
        await greet(ada, 12)
        await greet(bob, 16)
        await servers.until(lambda: len(servers.lobby.matches) == 12)
        ends = await asyncio.gather(play(ada, 20, most=12), play(bob, 20, most=16))
        assert {end["match"] for end in ends[0]} == {end["match"] for end in ends[1]}


@in_servers(ends=[("played", None)] * 16)
async def test_thirty_two_connections_over_both_wires(servers: Servers) -> None:
    async def by_socket(user: str) -> None:
        async with servers.socket(user) as socket:
            await greet(socket)
            await play(socket, 1)

    async def by_comprl(user: str) -> None:
        async with servers.peer() as peer:
            await peer.login(user)
            await peer.play(1)

    users = ("ada", "bob") * 8
    await asyncio.gather(*map(by_socket, users), *map(by_comprl, users))


@in_servers(ends=[("played", None)] * 2)
async def test_fewer_places_take_effect_before_the_next_match(servers: Servers) -> None:
    async with servers.socket("ada") as ada, servers.socket("bob") as bob:
        await greet(ada, 5)
        await servers.until(lambda: len(servers.lobby.waiting) == 5)
        await say(ada, "ready", matches=2)
        await servers.until(lambda: len(servers.lobby.waiting) == 2)
        await greet(bob, 3)
        await servers.until(lambda: len(servers.lobby.matches) == 2 and len(servers.lobby.waiting) == 1)
        await say(ada, "ready", matches=0)
        ends = await asyncio.gather(play(ada, 2, most=2), play(bob, 2, most=3))
        assert len(ends[0]) == 2
        await servers.until(lambda: servers.lobby.waiting == [])


@pytest.mark.parametrize(
    "action", [[], [0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, None], [0, 0, 0, 1.0000001], [-2, 0, 0, 0]], ids=str
)
@in_servers()
async def test_an_invalid_action_loses_the_match_and_nothing_else(servers: Servers, action: list[float]) -> None:
    async with servers.socket("ada") as ada, servers.socket("bob") as bob:
        await greet(ada)
        await greet(bob)
        for socket in (ada, bob):
            await expect(socket, "start")
        step = await expect(ada, "step")
        await expect(bob, "step")
        await act(ada, step, action)
        error = await expect(ada, "error")
        assert (error["code"], error["match"]) == ("invalid action", step["match"])
        end = await expect(bob, "end")
        assert (end["won"], end["own"], end["other"], end["match"]) == (False, 0, 0, step["match"])
        await act(ada, step)  # too late, and ignored
        await say(bob, "seen", match=step["match"])
        assert (await expect(ada, "start"))["match"] != step["match"]
    first = servers.store.results[0]
    assert (first.ending, first.left_by) == ("invalid action", "ada")


@in_servers()
async def test_silence_loses_the_match_and_the_connection_goes_on(servers: Servers) -> None:
    async with in_match(servers) as (ada, bob, step):
        bob.act(await bob.first_step())
        await bob.is_heard()
        servers.timers.let_pass(10.0)
        error = await expect(ada, "error")
        assert (error["code"], error["match"]) == ("timeout", step["match"])
        await hears_the_end(bob)
        assert servers.store.results[0].left_by == "ada"
        await expect(ada, "start")


@in_servers(ends=[("disconnected", "ada")])
async def test_giving_a_match_up(servers: Servers) -> None:
    async with in_match(servers, places=2) as (ada, bob, step):
        await bob.first_step()
        await say(ada, "ready", matches=0)
        await say(ada, "leave", match=step["match"])
        await hears_the_end(bob)
        await say(ada, "leave", match=step["match"])
        await say(ada, "hello", version=1, client="again")
        assert (await hear(ada))["code"] == "bad message"  # no end has come before it


@in_servers()
async def test_an_end_that_is_confirmed_too_early_is_still_told(servers: Servers) -> None:
    async with servers.socket("ada") as ada, servers.peer() as bob:
        await greet(ada)
        await bob.login("bob")
        start = await expect(ada, "start")
        await say(ada, "seen", match=start["match"])
        await expect(ada, "step")
        await bob.first_step()
        bob.writer.close()
        assert (await expect(ada, "end"))["match"] == start["match"]
        await say(ada, "seen", match=start["match"])
        await servers.until(lambda: len(servers.lobby.waiting) == 1)


@in_servers()
async def test_an_unconfirmed_end_only_costs_time(servers: Servers) -> None:
    async with in_match(servers) as (ada, bob, _), servers.peer() as cyd:
        await bob.first_step()
        bob.writer.close()
        await expect(ada, "end")
        await cyd.login("cyd")
        assert [one.user for one in servers.lobby.waiting] == ["cyd"]
        servers.timers.let_pass(10.0)
        await expect(ada, "start")


@pytest.mark.parametrize("end", [lambda socket: socket.close(), lambda socket: cut(socket)], ids=["close", "cut"])
@in_servers(ends=[("disconnected", "ada")] * 2)
async def test_a_lost_connection_ends_all_its_matches(
    servers: Servers, end: Callable[[ClientWebSocketResponse], Any]
) -> None:
    """Bob and cyd may have met each other: whoever did not play ada is not in this."""
    async with servers.socket("ada") as ada, servers.peer() as bob, servers.peer() as cyd:
        await greet(ada, 3)
        for peer, user in ((bob, "bob"), (cyd, "cyd")):
            await peer.login(user)
        for peer in (bob, cyd):
            await peer.first_step()
        await end(ada)
        for peer in (bob, cyd):
            box = await peer.expect("Ready")
            peer.answer(box, ready=b"False")
            await peer.expect("EndGame")
        await servers.until(lambda: servers.lobby.waiting == [])


async def cut(socket: ClientWebSocketResponse) -> None:
    socket.get_extra_info("socket").shutdown(2)


@in_servers()
async def test_no_token_or_a_wrong_one_is_refused_at_the_door(servers: Servers) -> None:
    url = f"http://{HOST}:{servers.http_port}/play"
    async with ClientSession() as session:
        for headers in ({}, {"Authorization": "Bearer nobody's"}, {"Authorization": "Basic token of ada"}):
            with pytest.raises(WSServerHandshakeError) as refused:
                await session.ws_connect(url, headers=headers)
            assert refused.value.status == 401
        async with session.get(url, headers={"Authorization": "Bearer token of ada"}) as answer:
            assert answer.status == 400


@in_servers()
async def test_a_store_that_does_not_answer_lets_nobody_in_on_either_wire(
    servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    """In a line, not with a traceback; whoever plays is not disturbed."""

    def refuse(token: str, address: str) -> None:
        raise StorageError("arena.sqlite cannot be used: disk I/O error")

    servers.store.user_of = refuse  # type: ignore[method-assign, assignment]
    with pytest.raises(WSServerHandshakeError) as refused:
        async with servers.socket("ada"):
            pass
    assert refused.value.status == 503
    async with servers.peer() as peer:
        peer.answer(await peer.expect("Auth"), token=b"token of ada", version=b"1")
        assert await peer.box() is None

    said = [record for record in caplog.records if record.levelname != "INFO"]
    assert [record.getMessage() for record in said] == [
        "nobody can log in: arena.sqlite cannot be used: disk I/O error"
    ] * 2
    assert not any(record.exc_info for record in said)


@in_servers()
async def test_another_version_is_told_and_closed(servers: Servers) -> None:
    async with servers.socket("ada") as ada:
        await say(ada, "hello", version=2, client="test")
        error = await expect(ada, "error")
        assert error["code"] == "version" and "match" not in {k for k, v in error.items() if v is not None}
        assert (await ada.receive()).type is WSMsgType.CLOSE


@in_servers()
async def test_who_does_not_say_hello_is_told_and_closed(servers: Servers) -> None:
    async with servers.socket("ada") as ada:
        await servers.until(lambda: bool(servers.timers.pending))
        servers.timers.let_pass(10.0)
        assert (await expect(ada, "error"))["code"] == "timeout"
        assert (await ada.receive()).type is WSMsgType.CLOSE


@pytest.mark.parametrize(
    "frame",
    ["", "null", "[]", "{", '{"type": "dance"}', '{"type": "ready"}', '{"type": "ready", "matches": -1}',
     '{"type": "ready", "matches": true}', '{"type": "action", "match": "x"}', b"\0\1"],
)  # fmt: skip
@in_servers()
async def test_what_is_no_message_is_objected_to_and_has_no_consequence(servers: Servers, frame: str | bytes) -> None:
    async with servers.socket("ada") as ada:
        await greet(ada, 0)
        await (ada.send_str(frame) if isinstance(frame, str) else ada.send_bytes(frame))
        error = await expect(ada, "error")
        assert error["code"] == "bad message" and error["message"] and error["match"] is None
        await say(ada, "ready", matches=1, surplus="field")
        await servers.until(lambda: len(servers.lobby.waiting) == 1)


@in_servers()
async def test_the_first_message_has_to_be_hello(servers: Servers) -> None:
    async with servers.socket("ada") as ada:
        await say(ada, "ready", matches=1)
        assert (await expect(ada, "error"))["code"] == "bad message"
        await greet(ada, 0)
        assert servers.lobby.waiting == []


@in_servers()
async def test_a_frame_that_is_too_big_closes_the_connection(servers: Servers) -> None:
    async with servers.socket("ada") as ada:
        await greet(ada)
        await servers.until(lambda: len(servers.lobby.waiting) == 1)
        await ada.send_str('{"type": "ready", "client": "' + 70000 * "x" + '"}')
        closing = await ada.receive()
        assert closing.type is WSMsgType.CLOSE and closing.data == 1009
        await servers.until(lambda: servers.lobby.waiting == [])


@in_servers()
async def test_answers_to_steps_that_are_not_open_are_ignored(servers: Servers) -> None:
    async with in_match(servers) as (ada, bob, step):
        for number in (0, 2, 99):
            await act(ada, {**step, "step": number}, [9.0])
        await act(ada, {**step, "match": "another"}, [9.0])
        await act(ada, step, (1.0, 0.0, 0.0, 0.0))
        await act(ada, step, [9.0])
        bob.act(await bob.first_step())
        assert (await expect(ada, "step"))["step"] == 2
        (match,) = servers.lobby.matches
        assert match.game.log.round(0).actions[-1, match.users.index("ada")].tolist() == [1.0, 0.0, 0.0, 0.0]


@in_servers(heartbeat_s=0.6)
async def test_heartbeats_are_sent_and_the_silent_are_gone(servers: Servers) -> None:
    async with servers.socket("ada", autoping=False) as ada:
        await greet(ada)
        await servers.until(lambda: len(servers.lobby.waiting) == 1)
        ping = await ada.receive()
        assert ping.type is WSMsgType.PING
        await ada.pong(ping.data)
        assert (await ada.receive()).type is WSMsgType.PING  # this one is not answered
        await servers.until(lambda: servers.lobby.waiting == [])


@in_servers(ends=[(CLOSED, None)])
async def test_an_arena_that_stops_says_goodbye_and_nothing_else(servers: Servers) -> None:
    async with in_match(servers) as (ada, _, _):
        await servers.lobby.close()
        closing = asyncio.create_task(servers.websocket.close())
        message = await ada.receive()
        assert message.type is WSMsgType.CLOSE and message.data == 1001
        await closing

"""The arena as clients of the real server see it: bytes, order of boxes, and every way to fall out of a match."""

import asyncio
import contextlib
import gzip
import json
import socket
import struct
import uuid
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from competitor.arena.lobby import CLOSED
from tests.competitor.arena.raw_client import towards_the_puck
from tests.competitor.arena.servers import STILL, Peer, Servers, hears_the_end, in_match, in_servers
from tests.competitor.wire.boxes import Box, read_floats, write_box, write_value

CAPTURE = Path(__file__).parents[2] / "data" / "comprl_capture.jsonl.gz"
LONGEST = 251

# The bytes of section 7 of the protocol page.
AUTH = bytes.fromhex("00045f61736b000131 00085f636f6d6d616e64000441757468 0000")
LOGIN = bytes.fromhex("00075f616e73776572000131 0005746f6b656e0006746f6b656e31 000776657273696f6e000131 0000")
READY = bytes.fromhex("00045f61736b000132 00085f636f6d6d616e6400055265616479 0000")
SUCCESS = bytes.fromhex(
    "00045f61736b000133 00085f636f6d6d616e6400074d657373616765"
    "00036d7367001941757468656e7469636174696f6e207375636365737366756c 0000"
)
IS_READY = bytes.fromhex("00075f616e73776572000132 00057265616479000454727565 0000")
SEEN = bytes.fromhex("00075f616e73776572000133 0000")
WAITING = write_box({"_ask": b"4", "_command": b"Message", "msg": b"Waiting in queue"})
START = bytes.fromhex("00045f61736b000135 00085f636f6d6d616e640009537461727447616d65 000767616d655f69640010")
STEP = bytes.fromhex("00045f61736b000136 00085f636f6d6d616e64000453746570 00036f6276")
STANDING = bytes.fromhex("00042d332e30" + "0003302e30" * 5 + "0003332e30" + "0003302e30" * 5)
STANDING_SECOND = bytes.fromhex("00042d332e3000042d302e300003302e3000042d302e3000042d302e300003302e30")


@in_servers()
async def test_the_opening_is_the_real_servers_byte_for_byte(servers: Servers) -> None:
    async with servers.peer() as one, servers.peer() as bob:
        await bob.login("bob")
        for expected, answer in ((AUTH, LOGIN), (READY + SUCCESS, IS_READY + SEEN), (WAITING, b"")):
            assert await one.reader.readexactly(len(expected)) == expected
            one.writer.write(answer)
        start = await one.reader.readexactly(len(START) + 18)
        assert start[: len(START)] == START and start[-2:] == b"\0\0"
        assert uuid.UUID(bytes=start[len(START) : -2]) == servers.lobby.matches[0].match_id
        assert await one.reader.readexactly(len(STEP)) == STEP
        obs = await one.reader.readexactly(int.from_bytes(await one.reader.readexactly(2), "big"))
        assert obs.startswith((STANDING, STANDING_SECOND))
        assert await one.reader.readexactly(2) == b"\0\0"


def shape(commands: list[Box]) -> list[tuple[str, tuple[str, ...]]]:
    """Commands and their fields, runs of Steps as one."""
    shapes = [(box["_command"].decode(), tuple(sorted(box))) for box in commands]
    return [shape for shape, _ in groupby(shapes)]


@in_servers(rounds=4)
async def test_a_whole_match_has_the_boxes_of_the_recorded_one(servers: Servers) -> None:
    lines = [json.loads(line) for line in gzip.decompress(CAPTURE.read_bytes()).splitlines()]
    recorded = [line["box"] for line in lines if line["dir"] == "s2c"]
    boxes = [{**dict.fromkeys(box, b""), "_command": box["_command"].encode()} for box in recorded]
    async with servers.peer() as ada, servers.peer() as bob:
        await ada.login("ada")
        await bob.login("bob")
        await asyncio.gather(ada.play(2), bob.play(2))
    for peer in (ada, bob):
        second = [box["_command"] for box in peer.heard].index(b"StartGame", 10)
        assert shape(peer.heard[: second + 2]) == shape(boxes)
        assert [box["_ask"] for box in peer.heard] == [b"%x" % tag for tag in range(1, len(peer.heard) + 1)]
        steps = sum(box["_command"] == b"Step" for box in peer.heard[:second])
        assert steps == 4 * LONGEST
        for box in peer.heard:
            if box["_command"] == b"Step":
                assert write_value(read_floats(box["obv"])) == box["obv"] and len(read_floats(box["obv"])) == 18


@in_servers(rounds=4)
async def test_a_decided_match_tells_both_sides_of_it(servers: Servers) -> None:
    ends: list[Box] = []
    store = servers.store
    while not ends or b"True" not in (ends[0]["result"], ends[1]["result"]):
        async with servers.peer() as ada, servers.peer() as bob:
            await ada.login("ada")
            await bob.login("bob")
            ends[:] = await asyncio.gather(ada.play(1, towards_the_puck), bob.play(1))
    (own, other), mirrored = (read_floats(end["stats"]) for end in ends)
    assert mirrored == [other, own] and own != other
    assert [end["result"] for end in ends] == ([b"True", b"False"] if own > other else [b"False", b"True"])
    result = store.results[-1]
    assert result.ending == "played"
    assert dict(zip(result.users, result.scores, strict=True)) == {"ada": own, "bob": other}
    winner, loser = ("ada", "bob") if own > other else ("bob", "ada")
    assert store.ratings[winner].mu > store.ratings[loser].mu


@in_servers()
async def test_boxes_may_be_split_and_merged_and_carry_fields_that_nobody_knows(servers: Servers) -> None:
    async with in_match(servers) as (ada, step, bob, other):
        bob.act(other)
        values = b"".join(len(text).to_bytes(2, "big") + text for text in (b" 0.5 ", b"1", b"1e-3", b"-0.0"))
        cut_off = values + (9).to_bytes(2, "big") + b"0.1"
        for byte in write_box({"action": cut_off, "surplus": b"x", "_answer": step["_ask"]}):
            ada.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        await ada.expect("Step")
        await bob.expect("Step")
        (match,) = servers.lobby.matches
        assert match.game.log.round(0).actions[-1, match.users.index("ada")].tolist() == [0.5, 1.0, 1e-3, 0.0]


@pytest.mark.parametrize(
    "fields",
    [
        {"action": b""},
        {"action": write_value(STILL[:3])},
        {"action": write_value((*STILL, 0.0))},
        {"action": write_value((0, 0, 0, 1.0000001))},
        {"action": write_value((-1.0000001, 0, 0, 0))},
        {"action": write_value((0, 1.0000001192092896, 0, 0))},
        {"action": write_value((0, float("nan"), 0, 0))},
        {"action": write_value((0, 0, float("inf"), 0))},
        {"action": b"\0\3abc"},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("last", [False, True], ids=["answers first", "answers last"])
@in_servers(ends=[("invalid action", "ada")])
async def test_an_invalid_action_ends_the_match(servers: Servers, fields: dict[str, bytes], last: bool) -> None:
    async with in_match(servers) as (ada, step, bob, other):
        if last:
            bob.act(other)
            await bob.is_heard()
        ada.answer(step, **fields)
        assert await ada.text("Error") == "Invalid action"
        assert await ada.closed()
        assert await hears_the_end(bob) == [0.0, 0.0]
        if not last:
            bob.act(other)  # it is owed all the same
        await servers.until(lambda: len(servers.lobby.waiting) == 1)


@in_servers(ends=[("invalid action", "ada")])
async def test_a_step_answered_with_an_error_counts_as_an_invalid_action(servers: Servers) -> None:
    async with in_match(servers) as (ada, step, bob, _):
        ada.write({"_error": step["_ask"], "_error_code": b"UNKNOWN", "_error_description": b"Unknown Error"})
        assert await ada.text("Error") == "Invalid action" and await ada.closed()
        await hears_the_end(bob)


@in_servers()
async def test_the_answer_to_a_step_is_owed_and_judged_after_the_end_of_its_match(servers: Servers) -> None:
    async with in_match(servers) as (ada, _, bob, other):
        ada.writer.close()
        await hears_the_end(bob)
        bob.act(other, (float("nan"), 0, 0, 0))
        assert await bob.text("Error") == "Invalid action" and await bob.closed()
        await servers.until(lambda: servers.lobby.waiting == [])


@in_servers(ends=[("disconnected", "ada"), ("timeout", "bob")])
async def test_an_old_step_that_stays_unanswered_closes_the_connection_in_the_next_match(servers: Servers) -> None:
    async with in_match(servers) as (ada, _, bob, _other), servers.peer() as cyd:
        ada.writer.close()
        await hears_the_end(bob)
        servers.timers.let_pass(9.0)
        await cyd.login("cyd")
        await cyd.first_step()
        bob.act(await bob.first_step())
        await bob.is_heard()
        servers.timers.let_pass(1.1)
        assert await bob.text("Error") == "Timeout after 10s" and await bob.closed()
        await hears_the_end(cyd)


def reset(peer: Peer) -> None:
    """Close with RST instead of FIN."""
    connection = peer.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.writer.transport.abort()


@pytest.mark.parametrize(
    "leave",
    [lambda peer: peer.writer.close(), lambda peer: reset(peer), lambda peer: peer.writer.write_eof()],
    ids=["close", "reset", "half-close"],
)
@pytest.mark.parametrize("answered", [False, True])
@in_servers(ends=[("disconnected", "ada")])
async def test_a_lost_connection_ends_the_match_at_once(
    servers: Servers, leave: Callable[[Peer], None], answered: bool
) -> None:
    async with in_match(servers) as (ada, step, bob, other):
        for peer, request in ((ada, step), (bob, other)):
            peer.act(request)
        step, _ = await ada.expect("Step"), await bob.expect("Step")
        if answered:
            ada.act(step)
            await ada.is_heard()
        leave(ada)
        assert await hears_the_end(bob) == [0.0, 0.0]


@in_servers(deadline_s=1.0)
async def test_silence_is_told_and_closed(servers: Servers) -> None:
    async with servers.peer() as peer:
        await peer.expect("Auth")
        servers.timers.let_pass(1.0)
        assert await peer.text("Error") == "Timeout after 1s" and await peer.closed()


@in_servers(deadline_s=0.25, ends=[("timeout", "ada")])
async def test_unanswered_steps_and_questions_have_a_deadline(servers: Servers) -> None:
    async with servers.peer() as peer:
        peer.answer(await peer.expect("Auth"), token=b"token of cyd", version=b"1")
        await peer.expect("Ready")
        await peer.expect("Message")
        servers.timers.let_pass(0.25)
        assert await peer.text("Error") == "Timeout after 0.25s" and await peer.closed()
    async with in_match(servers) as (ada, _, bob, other):
        bob.act(other)
        await bob.is_heard()
        servers.timers.let_pass(0.24)
        assert len(servers.lobby.matches) == 1
        servers.timers.let_pass(0.02)
        assert await ada.text("Error") == "Timeout after 0.25s" and await ada.closed()
        await hears_the_end(bob)


@in_servers(ends=[("disconnected", "bob"), ("timeout", "ada")])
async def test_start_and_messages_may_stay_unanswered_but_not_the_end(servers: Servers) -> None:
    async with servers.peer() as ada:
        ada.answer(await ada.expect("Auth"), token=b"token of ada", version=b"1")
        ada.answer(await ada.expect("Ready"), ready=b"True")
        assert [await ada.text("Message") for _ in range(2)] == ["Authentication successful", "Waiting in queue"]
        servers.timers.let_pass(9.0)
        async with servers.peer() as bob:
            await bob.login("bob")
            await ada.expect("StartGame")
            ada.act(await ada.expect("Step"))
            bob.act(await bob.first_step())
            step = await ada.expect("Step")
            servers.timers.let_pass(9.0)  # a deadline of what came before would be over
            ada.act(step)
            await ada.is_heard()
        ada.answer(await ada.expect("Ready"), ready=b"True")
        await ada.expect("EndGame")
        assert await ada.text("Message") == "Waiting in queue"
        servers.timers.let_pass(9.9)
        async with servers.peer() as cyd:
            await cyd.login("cyd")
            await ada.expect("StartGame")
            ada.act(await ada.expect("Step"))
            await cyd.first_step()
            await ada.is_heard()
            servers.timers.let_pass(0.2)
            assert await ada.text("Error") == "Timeout after 10s" and await ada.closed()


@in_servers()
async def test_a_wrong_token_and_a_wrong_version_are_told(servers: Servers) -> None:
    for token, version, text in (
        (b"nobody's", b"1", "Authentication failed"),
        (b"", b"1", "Authentication failed"),
        (b"token of ada", b"2", "Tried to connect with wrong version"),
        (b"nobody's", b"0", "Tried to connect with wrong version"),
    ):
        async with servers.peer() as peer:
            peer.answer(await peer.expect("Auth"), token=token, version=version)
            assert await peer.text("Error") == text and await peer.closed()
    assert servers.lobby.waiting == []


@pytest.mark.parametrize(
    "fields",
    [{"token": b"\xff\xfe", "version": b"1"}, {"token": b"token of ada"}, {"version": b"1"},
     {"token": b"token of ada", "version": b"one"}],
    ids=str,
)  # fmt: skip
@in_servers()
async def test_an_unreadable_login_freezes_the_connection(servers: Servers, fields: dict[str, bytes]) -> None:
    async with servers.peer() as peer:
        peer.answer(await peer.expect("Auth"), **fields)
        await peer.is_heard()
        servers.timers.let_pass(100.0)
        await peer.is_heard()


@pytest.mark.parametrize("answer", [{"ready": b"true"}, {}, {"ready": b"False"}, None], ids=str)
@in_servers()
async def test_who_is_not_plainly_ready_is_never_asked_again(servers: Servers, answer: dict[str, bytes] | None) -> None:
    async with servers.peer() as peer:
        peer.answer(await peer.expect("Auth"), token=b"token of ada", version=b"1")
        ready = await peer.expect("Ready")
        if answer is None:
            peer.write({"_error": ready["_ask"], "_error_code": b"UNKNOWN", "_error_description": b"?"})
        else:
            peer.answer(ready, **answer)
        peer.answer(await peer.expect("Message"))
        await peer.is_heard()
        servers.timers.let_pass(100.0)
        await peer.is_heard()
        assert servers.lobby.waiting == []


@pytest.mark.parametrize(
    "garbage",
    [
        write_box({"_answer": b"77"}),
        write_box({"_error": b"1"}),
        write_box({"key": b"value"}),
        write_box({"_command": b"Step"}),
        b"GET / HTTP/1.1\r\nHost: arena\r\n\r\n",
        b"\1\0" + b"k" * 256,
        b"\0\0",
    ],
    ids=["unknown tag", "error without a code", "no reserved key", "no tag", "HTTP", "long key", "empty"],
)
@in_servers(ends=[("disconnected", "ada")])
async def test_what_is_no_answer_closes_the_connection_without_a_word(servers: Servers, garbage: bytes) -> None:
    async with in_match(servers) as (ada, _, bob, _other):
        ada.writer.write(garbage.replace(b"\0\1" + b"1", b"\0\1" + b"6"))  # 6: the open step
        assert await ada.closed()
        await hears_the_end(bob)


@in_servers()
async def test_a_client_that_asks_without_end_and_never_reads_is_cut_off(servers: Servers) -> None:
    async with in_match(servers) as (ada, _, bob, _other):
        # A StreamReader stops reading by itself when its buffer is full.
        request = write_box({"_command": 60000 * b"x", "_ask": b"1"})
        with contextlib.suppress(ConnectionError):
            while not ada.writer.is_closing():
                ada.writer.write(request)
                await ada.writer.drain()
        await hears_the_end(bob)


@in_servers()
async def test_errors_in_answer_to_what_needs_none(servers: Servers) -> None:
    """To StartGame: closed without a word. To EndGame and Message: nothing."""

    def error(request: Box) -> Box:
        return {"_error": request["_ask"], "_error_code": b"UNKNOWN", "_error_description": b"?"}

    async with servers.peer() as ada, servers.peer() as bob:
        await ada.login("ada")
        await bob.login("bob")
        ada.write(error(await ada.expect("StartGame")))
        await ada.expect("Step")
        assert await ada.closed()
        bob.act(await bob.first_step())
        ready, end = await bob.expect("Ready"), await bob.expect("EndGame")
        bob.write(error(end))
        bob.answer(ready, ready=b"True")
        bob.write(error(await bob.expect("Message")))
        bob.write({"_command": b"Hello", "_ask": b"abc"})
        reply = await bob.request()
        assert reply["_error"] == b"abc" and reply["_error_code"] == b"UNHANDLED"
        assert [participant.user for participant in servers.lobby.waiting] == ["bob"]


@in_servers(ends=[(CLOSED, None)])
async def test_an_arena_that_stops_closes_without_a_word(servers: Servers) -> None:
    async with in_match(servers) as (ada, step, bob, _), servers.peer() as cyd, servers.peer() as newcomer:
        await cyd.login("cyd")
        ada.act(step)
        await newcomer.expect("Auth")
        servers.close_ports()
        await servers.lobby.close()
        await servers.comprl.close()
        for peer in (ada, bob, cyd, newcomer):
            assert await peer.closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", servers.comprl_port)

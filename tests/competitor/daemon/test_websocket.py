"""The WebSocket wire on real connections: whole conversations, how many matches it takes, how it comes and goes."""

import asyncio
import contextlib
import logging
import random
import socket
from typing import Any

import numpy as np
import pytest
from aiohttp import WSMsgType

from competitor.daemon.tournament import LONGEST_MATCH_S
from competitor.errors import ProtocolVersionError
from competitor.wire.websocket_connection import Timing
from tests.competitor.daemon.shared import STUCK_AFTER_S, TOKEN, echo, observation, wait_until
from tests.competitor.daemon.websocket_harness import PATIENCE_S, Daemon, Peer, Server, play, raw_server, stay

IMPATIENT = Timing(ping_every_s=0.05, pong_within_s=0.1, turn_s=0.01)


async def logs_in(peer: Peer) -> None:
    """Nothing but a login."""
    await peer.log_in()


def test_one_match() -> None:
    async def script(peer: Peer) -> None:
        assert await peer.log_in(player="ann", deadline_s=10.0, rating=25.5) == 1
        await peer.play("m1")
        await peer.expect("ready", matches=0)
        await peer.expect("seen", match="m1")
        assert await peer.closed() == 1000

    daemon = play(script, ends=True, games=1)
    (match,) = daemon.kept.matches
    assert (match.match_id, match.opponent, match.rounds, match.own, match.other) == ("m1", "nobody", 1, 1, 0)
    assert match.ending == "played" and len(match.obs) == 3 and daemon.telemetry.numbers().rating == 25.5
    assert daemon.telemetry.numbers().messages >= 6  # each is a sign of life: welcome, start, 3 steps, end


def test_many_matches_side_by_side(caplog: pytest.LogCaptureFixture) -> None:
    """64 matches, steps in any order, up to 64 of them open at once: each gets its own answer, exactly once."""
    names, steps, chance = [f"match-{number}" for number in range(64)], 12, random.Random(1)
    seen = {name: [chance.randint(-64, 64) / 64 for _ in range(steps)] for name in names}

    async def script(peer: Peer) -> None:
        assert await peer.log_in() == 64
        for name in names:
            await peer.send("start", match=name, rounds=1)
        answers: dict[tuple[str, int], list[float]] = {}
        asked, waiting = dict.fromkeys(names, 0), set()
        while waiting or min(asked.values()) < steps:
            may_ask = [name for name in names if name not in waiting and asked[name] < steps]
            for name in chance.sample(may_ask, chance.randint(0, len(may_ask))):
                asked[name] += 1
                waiting.add(name)
                await peer.send("step", match=name, step=asked[name], obs=observation(seen[name][asked[name] - 1]))
            if waiting:
                got = await peer.next()
                assert got["type"] == "action" and got["step"] == asked[got["match"]]
                waiting.remove(got["match"])
                answers[got["match"], got["step"]] = got["action"]
        for name in names:
            await peer.send("end", match=name, own=0, other=0, won=False)
        assert sorted([(await peer.next())["match"] for _ in names]) == sorted(names)
        assert answers == {(name, step + 1): echo(seen[name][step]) for name in names for step in range(steps)}
        peer.daemon.wire.finish()
        await peer.expect("ready", matches=0)
        assert await peer.closed() == 1000

    daemon = play(script, ends=True, matches=64)
    assert {match.match_id for match in daemon.kept.matches} == set(names)
    for match in daemon.kept.matches:
        assert match.obs[:, 12].tolist() == seen[match.match_id]
        assert np.array_equal(match.actions[:, 0], match.obs[:, 12] / 4)
    assert "ignored" not in caplog.text


def test_places_follow_the_budget() -> None:
    async def script(peer: Peer) -> None:
        assert await peer.log_in() == 2
        await peer.play("m1", end=False)
        await peer.play("m2", end=False)
        await peer.send("end", match="m1", own=1, other=0)
        await peer.expect("seen", match="m1")  # 2 at once as before: m2 and one more
        await peer.play("m3", end=False)
        await peer.send("end", match="m2", own=1, other=0)
        await peer.expect("ready", matches=1)  # before `seen`: the server knows it when the place is free
        await peer.expect("seen", match="m2")
        await peer.play_on("m3", 4, 5)
        await peer.expect("ready", matches=0)
        await peer.expect("seen", match="m3")
        assert await peer.closed() == 1000

    assert play(script, ends=True, matches=2, games=3).rig.lifecycle.finished == 3


def test_nothing_to_play_from_the_beginning() -> None:
    async def script(peer: Peer) -> None:
        await peer.next()
        await peer.send("welcome", version=1)
        assert await peer.closed() == 1000

    play(script, ends=True, games=0)


def test_end_is_acknowledged_when_the_record_is_safe() -> None:
    async def script(peer: Peer) -> None:
        kept = peer.daemon.kept
        kept.delays = True
        await peer.log_in()
        await peer.play("m1")
        await peer.play("m2")  # its actions are the next that come: nothing has been acknowledged
        await asyncio.to_thread(wait_until, lambda: len(kept.waiting) == 2)
        kept.waiting[1]()
        await peer.expect("seen", match="m2")
        kept.waiting[0]()
        await peer.expect("seen", match="m1")

    play(script, matches=2)


def test_the_last_record_is_waited_for() -> None:
    async def script(peer: Peer) -> None:
        peer.daemon.kept.delays = True
        await peer.log_in()
        await peer.play("m1")
        await peer.expect("ready", matches=0)
        await peer.socket.ping(b"is all sent?")
        while (got := await asyncio.wait_for(peer.socket.receive(), PATIENCE_S)).type is WSMsgType.PING:
            await peer.socket.pong(got.data)
        assert got.type is WSMsgType.PONG  # what the client had to say would have come before it
        peer.daemon.kept.waiting[0]()
        await peer.expect("seen", match="m1")
        assert await peer.closed() == 1000

    play(script, ends=True, server={"autoping": False}, games=1)


@pytest.mark.parametrize(
    "options",
    [{}, {"server": {"autoping": False}, "timing": Timing(turn_s=0.02, settle_s=0.05)}],
    ids=["usual", "without a pong"],
)
def test_finish_in_the_queue(options: dict[str, Any]) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        peer.daemon.wire.finish()
        await peer.expect("ready", matches=0)
        assert await peer.closed() == 1000

    play(script, ends=True, matches=3, **options)


def test_finish_plays_what_is_in_play_and_what_was_on_its_way() -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.play("m1", end=False)
        peer.daemon.wire.finish()
        await peer.send("start", match="m2", rounds=1)  # nothing of the end has been read by then
        await peer.expect("ready", matches=0)
        await peer.play_on("m1", 4, 5, end=False)
        await peer.play_on("m2", 1, 3, end=False)
        await peer.send("start", match="m3", rounds=1)  # by now the server knows better
        await peer.expect("leave", match="m3")
        await peer.play_on("m1", 6, 7)
        await peer.expect("seen", match="m1")
        await peer.play_on("m2", 4, 5)
        await peer.expect("seen", match="m2")
        assert await peer.closed() == 1000

    daemon = play(script, ends=True, matches=3)
    assert sorted(match.match_id for match in daemon.kept.matches) == ["m1", "m2"]


def test_leave_ends_at_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.play("m1", end=False)
        peer.daemon.wire.leave()
        assert await peer.closed() == 1001

    daemon = play(script, ends=True, matches=3)
    (match,) = daemon.kept.matches
    assert match.ending == "abandoned" and match.reason == "leaving" and len(match.obs) == 3
    assert daemon.telemetry.numbers().connections == 0


both_ways = pytest.mark.parametrize("way", ["finish", "leave"])


@both_ways
def test_an_attempt_to_connect_can_be_cut_short(way: str) -> None:
    accepted: list[socket.socket] = []
    with (
        raw_server(lambda peer: accepted.append(peer)) as url,  # accepts, and never says a word
        Daemon(url, timing=Timing(connect_s=3600.0)) as daemon,
    ):
        wait_until(lambda: accepted)
        getattr(daemon.wire, way)()
        assert daemon.ended() is None


@both_ways
def test_waiting_for_the_welcome_can_be_cut_short(way: str) -> None:
    async def script(peer: Peer) -> None:
        assert (await peer.next())["type"] == "hello"
        getattr(peer.daemon.wire, way)()
        await peer.closed()

    play(script, ends=True)


@both_ways
def test_a_flood_of_pings_does_not_keep_anybody_from_stopping(way: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        getattr(peer.daemon.wire, way)()
        with contextlib.suppress(ConnectionError):
            while not peer.socket.closed:
                for _ in range(1000):
                    await peer.socket.ping(b"x" * 100)

    play(script, ends=True)


def test_a_lost_connection_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    async def dropped(peer: Peer) -> None:
        assert await peer.log_in() == 2
        await peer.play("m1", end=False)
        peer.abort()

    async def closed(peer: Peer) -> None:
        assert await peer.log_in() == 2
        await peer.socket.close(code=1012, message=b"back\nsoon")

    async def whole(peer: Peer) -> None:
        assert await peer.log_in() == 2
        await peer.play("m2")
        await peer.expect("ready", matches=1)
        await peer.expect("seen", match="m2")
        await peer.play("m3")
        await peer.expect("ready", matches=0)

    caplog.set_level(logging.INFO)
    daemon = play(dropped, closed, whole, ends=True, matches=2, games=2)
    kept = [(match.match_id, match.ending) for match in daemon.kept.matches]
    assert kept == [("m1", "abandoned"), ("m2", "played"), ("m3", "played")]
    assert daemon.telemetry.numbers().reconnects == 2
    assert caplog.text.count("back at ws://") == 2
    assert sum("1012 back soon" in line and "trying again in" in line for line in caplog.messages) == 1


def test_a_connection_lost_after_the_last_match_is_not_missed() -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.play("m1")
        await peer.expect("ready", matches=0)
        peer.abort()

    daemon = play(script, ends=True, games=1)
    assert daemon.telemetry.numbers().reconnects == 0 and daemon.rig.lifecycle.finished == 1


def test_other_statuses_are_not(caplog: pytest.LogCaptureFixture) -> None:
    with Server(logs_in, statuses=[403, 404, 500, 302]) as server, Daemon(server.url) as daemon:
        server.done()
        assert daemon.is_running
    for status in (403, 404, 500, 302):
        assert f"HTTP status {status}" in caplog.text
    assert len(server.requests) >= 5 and {request.path for request in server.requests} == {"/play"}


@pytest.mark.parametrize(
    "answer", [{"type": "welcome", "version": 2}, {"type": "error", "code": "version", "message": "I speak version 2"}]
)
def test_another_version_is_fatal(answer: dict[str, Any]) -> None:
    async def script(peer: Peer) -> None:
        await peer.next()
        await peer.socket.send_json(answer)
        await stay(peer)

    with Server(script) as server, Daemon(server.url) as daemon:
        assert isinstance(daemon.ended(), ProtocolVersionError)


def test_a_login_that_fails_otherwise_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def busy(peer: Peer) -> None:
        await peer.send("error", code="full", message="come back later")
        await stay(peer)

    async def silent(peer: Peer) -> None:
        await peer.next()
        now[0] += 10.0
        await stay(peer)

    now = [0.0]
    play(busy, silent, logs_in, timing=Timing(login_s=10.0, turn_s=0.01), clock=lambda: now[0])
    assert "the login failed: full: come back later" in caplog.text and "no welcome within 10 s" in caplog.text


def test_a_stuck_match_is_left() -> None:
    async def script(peer: Peer) -> None:
        assert await peer.log_in() == 2
        await peer.play("stuck", 1, end=False)
        peer.daemon.rig.now_s += 0.75 * STUCK_AFTER_S
        await peer.play("alive", 3, end=False)
        peer.daemon.rig.now_s += 0.75 * STUCK_AFTER_S
        await peer.expect("leave", match="stuck")
        await peer.play_on("alive", 4, 6, end=False)
        await peer.play("next")  # the place is free again
        await peer.expect("seen", match="next")
        for step in range(7, 6 + int(LONGEST_MATCH_S // 44)):  # slow, but never silent
            peer.daemon.rig.now_s += 44
            await peer.play_on("alive", step, step, end=False)
        peer.daemon.rig.now_s += 44
        await peer.expect("leave", match="alive")

    daemon = play(script, matches=2, timing=Timing(turn_s=0.02))
    reasons = {match.match_id: match.reason for match in daemon.kept.matches}
    assert reasons == {"stuck": "no step for 45 s", "next": "", "alive": "no end after 3 hours"}


def test_an_error_of_one_match_ends_that_match_only() -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.play("m1", end=False)
        await peer.play("m2", end=False)
        await peer.send("error", code="timeout", message="10 s are over", match="m1")
        await peer.send("error", code="bad message", message="what?")
        await peer.send("error", code="timeout", message="no such match", match="m0")
        await peer.play("m3")  # in the place of m1
        await peer.expect("seen", match="m3")
        await peer.play_on("m2", 4, 5)
        await peer.expect("seen", match="m2")

    kept = {match.match_id: (match.ending, match.reason) for match in play(script, matches=2).kept.matches}
    assert kept == {"m1": ("abandoned", "timeout: 10 s are over"), "m2": ("played", ""), "m3": ("played", "")}


def test_late_answers_are_still_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        peer.daemon.brain.gate.clear()
        await peer.send("start", match="m1", rounds=1)
        await peer.send("step", match="m1", step=1, obs=observation(0.5))
        await peer.send("end", match="m1", own=0, other=0, won=False)
        await peer.expect("seen", match="m1")
        peer.daemon.brain.gate.set()
        await peer.expect("action", match="m1", step=1, action=echo(0.5))

    play(script)


def test_pings_are_sent_and_answered() -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.socket.ping(b"are you there?")
        kinds = [(await asyncio.wait_for(peer.socket.receive(), PATIENCE_S)).type.name for _ in range(4)]
        assert sorted(kinds) == ["PING", "PING", "PING", "PONG"]

    timing = Timing(ping_every_s=0.05, pong_within_s=10.0, turn_s=0.01)
    play(script, server={"autoping": False}, timing=timing)


def test_silence_is_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async def silent(peer: Peer) -> None:
        await peer.log_in()
        while (await asyncio.wait_for(peer.socket.receive(), PATIENCE_S)).type.name == "PING":
            pass

    play(silent, logs_in, server={"autoping": False}, timing=IMPATIENT)
    assert "the server has not answered a ping for 0.1 s" in caplog.text


def test_a_server_that_plays_but_does_not_pong_is_alive() -> None:
    """Two pings unanswered, the second sent after the time for the first: what came in between was life enough."""
    now = [0.0]

    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.send("start", match="m1")
        pings = step = 0
        while pings < 4:
            step += 1
            now[0] += 6.0
            await peer.send("step", match="m1", step=step, obs=observation(0.5))
            while (got := await asyncio.wait_for(peer.socket.receive(), PATIENCE_S)).type.name == "PING":
                pings += 1
            assert got.type.name == "TEXT"

    timing = Timing(ping_every_s=10.0, pong_within_s=20.0, turn_s=0.001)
    daemon = play(script, server={"autoping": False}, timing=timing, clock=lambda: now[0])
    assert daemon.telemetry.numbers().reconnects == 0


@pytest.mark.parametrize("asked", ["7200", "Wed, 01 Jan 2099 00:00:00 GMT"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_says_when_to_come_back(status: int, asked: str, caplog: pytest.LogCaptureFixture) -> None:
    with Server(stay, statuses=[status], retry_after=asked) as server, Daemon(server.url):
        wait_until(lambda: "trying again" in caplog.text)
    assert "trying again in 3600.0 s as the server asks" in caplog.text  # an hour is the most that is believed


def test_a_date_to_come_back_is_read_by_the_servers_clock(caplog: pytest.LogCaptureFixture) -> None:
    """Ours may be wrong by days."""

    def refuse(peer: socket.socket) -> None:
        peer.recv(65536)
        dates = (
            f"{name}: Wed, 01 Jan 2020 00:{minute}:00 GMT" for name, minute in (("Date", "00"), ("Retry-After", 10))
        )
        peer.sendall("\r\n".join(["HTTP/1.1 503 Busy", *dates, "Content-Length: 0", "", ""]).encode())

    with raw_server(refuse) as url, Daemon(url):
        wait_until(lambda: "trying again" in caplog.text)
    assert "trying again in 600.0 s as the server asks" in caplog.text


def test_waits_grow_until_a_connection_was_useful() -> None:
    """A login alone is no use: who is let in and thrown out again must not come back every second."""
    before: list[int] = []

    async def thrown_out(peer: Peer) -> None:
        await peer.log_in()
        await peer.socket.close()

    async def played(peer: Peer) -> None:
        before.append(peer.daemon.backoff.resets)
        await peer.log_in()
        await peer.play("m1", end=False)
        await peer.socket.close()

    daemon = play(thrown_out, thrown_out, thrown_out, played, logs_in)
    assert (before, daemon.backoff.resets) == ([0], 1)


def test_the_token_as_a_name_is_neither_kept_nor_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def script(peer: Peer) -> None:
        await peer.log_in(player=TOKEN)
        await peer.send("start", match=TOKEN, opponent=f"x{TOKEN}", rounds=1)
        await peer.send("step", match=TOKEN, step=1, obs=observation(0.5))
        await peer.expect("action", match=TOKEN, step=1, action=echo(0.5))
        await peer.send("error", code="gone", message=TOKEN, match=TOKEN)
        await peer.play("m2")
        await peer.expect("seen", match="m2")

    first = play(script).kept.matches[0]
    assert (first.match_id, first.opponent, first.reason) == ("***", "x***", "gone: ***")
    shown = [line for line in caplog.messages if "logged in at" in line]
    assert shown and not any(TOKEN in line for line in shown)


def test_no_piece_of_the_token_is_kept_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Where a text is cut, and where letters are made compatible, a token that was there before must be gone."""
    caplog.set_level(logging.INFO)
    long, piece = 490 * "x" + TOKEN, TOKEN[:6]
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in TOKEN)

    async def script(peer: Peer) -> None:
        await peer.send("notice", message=long)
        await peer.send(35 * "x" + TOKEN)
        await peer.log_in(player=long)
        await peer.send("start", match="m1", opponent=wide, rounds=1)
        await peer.send("error", code=TOKEN.upper(), message=long, match="m1")
        await peer.play("m2")
        await peer.expect("seen", match="m2")
        await peer.send("start", match="m3", rounds=1)
        await peer.socket.close(message=f"{wide} {TOKEN[:9]}\u200b{TOKEN[9:]}".encode()[:123])

    kept = play(script, logs_in).kept.matches
    first = kept[0]
    assert kept[-1].reason == "the server closed the connection (1000 *** ***)" and "s3cret-To" not in caplog.text
    assert first.opponent == "***" and first.reason.startswith("***: xxx")
    assert piece not in first.reason + caplog.text and "unknown type" in caplog.text


@pytest.mark.parametrize("rounds", [4, 2**53])
def test_a_score_that_cannot_be_is_not_kept(rounds: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.log_in()
        await peer.send("start", match="m1", rounds=rounds)
        await peer.send("end", match="m1", own=0, other=2**53, won=False, rating=1e300)
        await peer.expect("seen", match="m1")

    match = play(script).kept.matches[0]
    assert (match.ending, match.reason) == ("abandoned", "the server sent an impossible score")
    assert (match.own, match.other, match.rating) == (0, 0, None)


def test_a_path_and_a_query_are_sent_as_they_were_given() -> None:
    async def script(peer: Peer) -> None:
        assert peer.request.raw_path == "/a%2Fb//c/?x=%7E1&y=a+b"
        await peer.log_in()

    with Server(script) as server, Daemon(server.url.replace("/play", "/a%2Fb//c/?x=%7E1&y=a+b")):
        server.done()

"""Playing on a comprl server: whatever it asks, in whatever order, gets one valid answer."""

import base64
import contextlib
import logging
import math
import random
import socket
import uuid

import numpy as np
import pytest

from competitor.daemon.comprl import MOST_OWED, MOST_PAIRS
from competitor.daemon.supervisor import Lifecycle
from competitor.engine import session
from competitor.engine.engine import Engine
from competitor.wire import dial
from tests.competitor.daemon.comprl_harness import ANSWER, Daemon, connected, play_on
from tests.competitor.daemon.misbehaving_server import GAME, GAME_ID, Server
from tests.competitor.daemon.shared import OBS, TOKEN, echo, observation, wait_until
from tests.competitor.engine.fakes import WAIT_S
from tests.competitor.wire.boxes import write_box

MOST_READ = 256 * 1024  # bytes; asyncio's transports ask for as many
OTHER_GAME = bytes(range(100, 116))
OTHER_ID = str(uuid.UUID(bytes=OTHER_GAME))


def test_a_match() -> None:
    with connected(in_match=True) as (_, daemon, peer):
        assert peer.action(peer.ask("Step", obv=observation(0.5))) == echo(0.5)
        assert peer.finish_match(3.0, 1.0, result=True)
    (match,) = daemon.kept.matches
    assert (match.match_id, match.connection, match.ending, match.own, match.other) == (
        *(GAME_ID, "comprl-1", "played", 3, 1),
    )
    assert match.obs.tolist() == [OBS, observation(0.5)] and match.actions.tolist() == [ANSWER, echo(0.5)]
    assert not peer.owed


def test_a_nan_observation_one_step_before_the_end() -> None:
    bad = [*OBS[:6], *[math.nan] * 3, math.inf, -math.inf, -0.0, *OBS[12:]]
    with connected(in_match=True) as (_, daemon, peer):
        assert all(-1.0 <= number <= 1.0 for number in peer.action(peer.ask("Step", obv=bad)))
        step, ready, end = peer.send(
            peer.request("Step", obv=bad),
            peer.request("Ready"),
            peer.request("EndGame", result=False, stats=[0.0, 0.0]),
        )
        assert all(-1.0 <= number <= 1.0 for number in peer.action(step))
        assert peer.answer(ready) and peer.answer(end)
    assert np.array_equal(daemon.kept.matches[0].obs[:2], [OBS, bad], equal_nan=True)


def test_steps_outlive_their_match() -> None:
    """One that is open at its end, while the next match begins, and one that is asked for after it."""
    with connected() as (_, daemon, peer):
        daemon.brain.gate.clear()
        old = peer.start()
        peer.answer(peer.end(0.0, 1.0)[1])
        new = peer.start(OTHER_GAME)
        daemon.brain.gate.set()
        assert peer.action(new) == peer.action(old) == ANSWER
        peer.finish_match(0.0, 1.0)
        assert all(-1.0 <= number <= 1.0 for number in peer.action(peer.ask("Step", obv=OBS)))
    assert [match.match_id for match in daemon.kept.matches] == [GAME_ID, OTHER_ID]


def test_a_match_begins_while_another_one_is_open_and_once_however_often_it_is_announced() -> None:
    with connected(in_match=True) as (_, daemon, peer):
        assert peer.action(peer.start()) == ANSWER
        assert peer.action(peer.start(OTHER_GAME)) == ANSWER
        assert daemon.has_kept("abandoned") == ["the server began another match"]
        peer.finish_match(2.0, 2.0, result=True)
    assert [(match.match_id, len(match.obs)) for match in daemon.kept.matches] == [(GAME_ID, 2), (OTHER_ID, 1)]


def test_steps_and_ends_without_a_match_are_answered(caplog: pytest.LogCaptureFixture) -> None:
    with connected() as (_, daemon, peer):
        assert peer.action(peer.ask("Step", obv=OBS)) == [0.0] * 4
        end = peer.ask("EndGame", result=True, stats=[4.0, 0.0])
        assert peer.answer(end) == {"_answer": end.encode()} and daemon.kept.matches == []
        peer.action(peer.start())
        first, second = peer.end(1.0, 0.0)[1], peer.end(1.0, 0.0)[1]
        assert peer.answer(first) and peer.answer(second)
    assert len(daemon.kept.matches) == 1
    assert "a step without a match" in caplog.text and caplog.text.count("not in play") == 2


def test_ready_twice_is_one_place_in_the_queue() -> None:
    with connected(games=2) as (_, daemon, peer):
        assert peer.answer(peer.ask("Ready"))["ready"] == b"True"
        assert daemon.rig.lifecycle.wants_match() and not daemon.rig.lifecycle.wants_match()


def test_a_match_without_login_or_question() -> None:
    """The real server would never; it is played all the same."""
    with Server() as server, Daemon(server.port):
        peer = server.accept()
        assert peer.action(peer.start()) == ANSWER
        assert peer.answer(peer.ask("Auth"))["version"] == b"1"


def test_unknown_commands_are_refused_politely(caplog: pytest.LogCaptureFixture) -> None:
    """As AMP does, with the code that the real server uses; in the queue and in a match."""
    with connected() as (_, _, peer):
        for command in ("Dance", "step", "StartTLS", "", b"\xff\xfe", "__class__", "x" * 65535):
            refusal = peer.answer(peer.ask(command, obv=OBS))
            assert refusal.keys() == {"_error", "_error_code", "_error_description"}
            assert refusal["_error_code"] == b"UNHANDLED" and len(refusal["_error_description"]) < 200
        step = peer.start()
        assert peer.answer(peer.ask("Dance"))["_error_code"] == b"UNHANDLED"
        assert peer.action(step) == ANSWER
    assert "unknown command 'Dance'" in caplog.text


@pytest.mark.parametrize("tag", [b"", b"\0\xff", b"t" * 65535], ids=["empty", "binary", "longest"])
def test_tags_are_echoed_verbatim(tag: bytes) -> None:
    expected = b"\0\x07_answer" + len(tag).to_bytes(2, "big") + tag + b"\0\x05token"
    with Server() as server, Daemon(server.port):
        peer = server.accept()
        peer.socket.sendall(write_box({"_ask": tag, "_command": "Auth"}))
        with peer.socket.makefile("rb") as received:  # a recv may return a part of it
            assert received.read(len(expected)) == expected


def test_what_needs_no_answer_gets_none(caplog: pytest.LogCaptureFixture) -> None:
    """Requests without a tag, and answers that nobody has asked for."""
    with connected() as (_, daemon, peer):
        for command in ("Ready", "StartGame", "Step", "EndGame", "Message", "Error", "Dance"):
            peer.socket.sendall(write_box({"_command": command}))
            if command == "Error":
                break
        peer.expect_end()  # who sends an error is left
    with connected() as (_, daemon, peer):
        peer.socket.sendall(write_box({"_answer": "77"}) + write_box({"_error": "78", "_error_code": "UNKNOWN"}))
        peer.socket.sendall(write_box({"_command": "Dance"}))
        assert peer.action(peer.start()) == ANSWER
    assert caplog.text.count("nobody had asked") == 2


def test_steps_that_cannot_be_read_are_answered() -> None:
    unreadable = [["abc", "1.5", "", "1e400"], [], b"\0\x031.5\0\x091.2", [*OBS[:17], 1.0, 2.0]]
    longest = [["0.0"] * 13_107, ["9" * 65_533]]
    with connected(in_match=True) as (_, daemon, peer):
        for fields in [{}, *({"obv": obv} for obv in (*unreadable, *longest))]:
            assert all(-1.0 <= number <= 1.0 for number in peer.action(peer.ask("Step", **fields)))  # type: ignore[arg-type]
        peer.finish_match(1.0, 0.0)
    (match,) = daemon.kept.matches
    assert len(match.obs) == 8 and np.isnan(match.obs[1:]).all()


@pytest.mark.parametrize("ends", [True, False])
def test_what_is_kept_of_a_match_without_end_is_bounded(
    ends: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All its steps are answered, also those that a server asks for when it has said that the match is over."""
    monkeypatch.setattr(session, "MOST_KEPT", 8)
    with connected(in_match=True) as (_, daemon, peer):
        for step in range(20):
            if step == 5 and ends:
                peer.finish_match(1.0, 0.0)
            assert len(peer.action(peer.ask("Step", obv=observation(step / 64)))) == 4
        peer.finish_match(1.0, 0.0)
    assert len(daemon.kept.matches[0].obs) == (6 if ends else 8)
    assert caplog.text.count("is answered, but not kept") == 1


def test_scores_that_cannot_be_give_the_match_up_and_are_answered() -> None:
    none: list[list[str | float]] = [
        *(["abc", "1.0"], [1.0], [], ["nan", "0.0"], ["-1.0", "0.0"], ["inf", "0.0"], [1.0, 2.0, 3.0], [1.5, 0.0])
    ]
    impossible = [[5.0, 0.0], [3.0, 2.0], [0.0, 1000.0], [1e300, 1e300]]  # of four rounds, each of one goal
    with connected() as (_, daemon, peer):
        for stats in [*none, *impossible]:
            peer.action(peer.start())
            peer.answer(peer.ask("EndGame", result="perhaps", stats=stats))
        reasons = daemon.has_kept(*["abandoned"] * (len(none) + len(impossible)))
        assert set(reasons[: len(none)]) == {"the server sent no score"}
        assert set(reasons[len(none) :]) == {"the server sent an impossible score"}
        peer.action(peer.start())
        peer.answer(peer.ask("EndGame", result="true", stats=[2.0, 1.0]))  # only the result is none: the score counts
    assert (daemon.kept.matches[-1].own, daemon.kept.matches[-1].other) == (2, 1)


def test_messages_are_logged_in_one_line_and_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with connected() as (_, _, peer):
        for text in (b"Welcome\r\nback \x1b[31m", b"caf\xc3\xa9 \xff", b"x" * 65535, f"your token is {TOKEN}"):
            peer.answer(peer.ask("Message", msg=text))
        peer.answer(peer.ask("Message"))
    said = [record.getMessage() for record in caplog.records if "says" in record.getMessage()]
    assert "the server says: Welcome  back  [31m" in said[1] and "café" in said[2] and len(said[3]) < 1000
    assert "your token is ***" in said[4] and all(text.isprintable() for text in said)


@pytest.mark.parametrize(
    "spelled",
    [
        TOKEN[:5] + "\u200b" + TOKEN[5:],
        "\x00".join(TOKEN),
        f"\x1b[1m{TOKEN[:9]}\r\n{TOKEN[9:]}",
        "".join(chr(ord(letter) + 0xFEE0) for letter in TOKEN),  # full width
        base64.b64encode(f"user:{TOKEN}".encode()).decode(),
    ],
)
def test_a_token_that_a_reader_could_put_together_is_hidden(spelled: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with connected() as (_, _, peer):
        peer.answer(peer.ask("Message", msg=f"you: {spelled} end".encode()))
    (said,) = [text for text in caplog.messages if "you: " in text]
    assert "***" in said and said.endswith(" end") and "player" not in said


@pytest.mark.parametrize("method", ["open_session", "submit", "close_session"])
def test_an_error_in_this_program_does_not_cost_the_connection(
    method: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(f"{method} is broken")

    with connected(saved_within_s=0.01) as (_, _, peer):
        with monkeypatch.context() as patch:
            patch.setattr(Engine, method, broken)
            assert peer.action(peer.start()) == (ANSWER if method == "close_session" else [0.0] * 4)
            peer.finish_match(1.0, 0.0)
        assert peer.action(peer.start(OTHER_GAME)) == ANSWER
    assert f"{method} is broken" in caplog.text


def test_an_error_when_asked_for_a_match_declines_it_and_connects_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as server, Daemon(server.port):
        peer = server.accept()
        peer.log_in()
        with monkeypatch.context() as patch:
            patch.setattr(Lifecycle, "wants_match", lambda self: 1 / 0)
            assert peer.answer(peer.ask("Ready"))["ready"] == b"False"
        peer.expect_end()
        server.accept().queue()
    assert "no match, because of an error in this program" in caplog.text


def test_match_ids() -> None:
    """The UUID whose 16 bytes the server sends; another one of its own for every other id."""
    games = [bytes.fromhex("80ff95098e7046708d79fc3da5b19fd4"), b"", b"x", b"y" * 17, b"\xff" * 65535, b"x"]
    with connected() as (_, daemon, peer):
        for game in games:
            peer.action(peer.start(game))
            peer.finish_match(0.0, 1.0)
    ids = [match.match_id for match in daemon.kept.matches]
    assert ids[0] == "80ff9509-8e70-4670-8d79-fc3da5b19fd4" and ids[2] == ids[5]
    assert len(set(ids)) == 5 and all(str(uuid.UUID(text)) == text for text in ids)


def test_no_more_is_read_than_is_answered() -> None:
    """A server that asks without waiting does not fill the memory; in the end everything is answered."""
    with connected(in_match=True, fake_time=True) as (_, daemon, peer):
        daemon.brain.gate.clear()
        requests = [peer.request("Step", obv=OBS) for _ in range(6 * MOST_OWED)]
        at_once = MOST_READ // len(requests[0][1]) + 1  # what one read brings is taken in whole
        assert MOST_OWED + at_once < len(requests)
        steps = peer.send(*requests)
        wait_until(lambda: daemon.telemetry.numbers().messages >= MOST_OWED)
        daemon.settle()
        assert daemon.telemetry.numbers().messages < MOST_OWED + at_once
        daemon.brain.gate.set()
        for step in steps:
            assert peer.action(step) == ANSWER


def test_a_server_that_does_not_read_its_answers_is_not_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "keep_alive", lambda opened: opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096))
    with connected(in_match=True) as (_, daemon, peer):
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.socket.settimeout(0.5)
        asked = 0
        with pytest.raises(TimeoutError):
            while asked < 1_000_000:
                peer.send(*(peer.request("Message", msg="x" * 1000) for _ in range(10)))
                asked += 10
        peer.socket.settimeout(WAIT_S)
        assert daemon.is_running


def test_damaged_matches_are_survived() -> None:
    """Whatever is changed in the bytes of a match: no exception reaches the event loop, and nobody is kept out."""
    boxes = [{"_command": "Auth"}, {"_command": "Ready"}, {"_command": "StartGame", "game_id": GAME}]
    boxes += [{"_command": "Step", "obv": OBS}] * 2
    boxes += [{"_command": "Ready"}, {"_command": "EndGame", "result": True, "stats": [1.0, 0.0]}]
    whole = b"".join(write_box({"_ask": f"{number:x}", **box}) for number, box in enumerate(boxes, 1))  # type: ignore[dict-item]
    chance = random.Random(4)
    with Server() as server, Daemon(server.port, retry_s=0.001) as daemon:
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            peer = server.accept()
            with contextlib.suppress(OSError):  # a client that leaves without reading the rest resets, at any moment
                peer.socket.sendall(damaged)
                peer.socket.shutdown(socket.SHUT_WR)
                while peer.socket.recv(65536):
                    pass
            assert daemon.is_running
        play_on(server)


def test_the_largest_box_that_can_be_is_read() -> None:
    fields = {f"{number:02}" + "k" * 253: "v" * 65535 for number in range(MOST_PAIRS - 2)}
    with connected() as (_, _, peer):
        assert peer.answer(peer.ask("Ready", **fields))["ready"] == b"True"
        peer.ask("Ready", one="1", two="2", **fields)
        peer.owed.clear()
        peer.expect_end()

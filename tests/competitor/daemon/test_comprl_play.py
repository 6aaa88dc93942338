"""Playing on a comprl server: whatever it asks, in whatever order, gets one valid answer."""

from __future__ import annotations

import logging
import math
import uuid

import pytest

from competitor.daemon.comprl_player import doubles_of, goals_of, match_id_of
from competitor.engine.session import Reply
from tests.competitor.daemon.comprl_bench import (
    ACTION,
    Daemon,
    FakeSession,
    FakeTournament,
    Unplugged,
    elsewhere,
    texts,
)
from tests.competitor.daemon.misbehaving_server import GAME, GAME_ID, START, TOKEN, Server, read_floats, write_box

OTHER_GAME = bytes(range(100, 116))
OTHER_ID = str(uuid.UUID(bytes=OTHER_GAME))


class HeldDesk(FakeTournament):
    """Keeps the replies to steps and the confirmations of records until the test wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: list[Reply] = []
        self.on_step = self._hold_step
        self.on_end = lambda saved: self.note("saving", saved)

    def _hold_step(self, session: FakeSession, obs: list[float], reply: Reply) -> None:
        self.replies.append(reply)
        self.note("step", session.match_id, obs)


def test_a_match() -> None:
    with Server() as server, Daemon(server.port) as daemon:
        peer = server.accept()
        peer.queue()
        assert peer.action(peer.start()) == list(ACTION)
        assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
        ready, end = peer.end(3.0, 1.0, result=True)
        assert peer.answer(ready)["ready"] == b"True" and peer.answer(end) == {"_answer": end.encode()}
        assert daemon.tournament.wait_for("end") == ("end", GAME_ID, 3, 1, True)
    assert not peer.owed


def test_ready_comes_before_the_end_of_the_match() -> None:
    """And is answered before the record of the match is saved."""
    tournament = HeldDesk()
    with Server() as server, Daemon(server.port, tournament):
        peer = server.accept()
        peer.queue()
        peer.start()
        tournament.wait_for("step")
        tournament.replies[0](ACTION)
        ready = peer.ask("Ready")
        assert peer.answer(ready)["ready"] == b"True"
        end = peer.ask("EndGame", result=True, stats=[1.0, 0.0])
        _, saved = tournament.wait_for("saving")
        message = peer.ask("Message", msg="Waiting in queue")
        peer.answer(message)
        assert end not in peer.answers, "the end was confirmed before the record was saved"
        elsewhere(saved)
        peer.answer(end)


def test_a_nan_observation_one_step_before_the_end() -> None:
    """It goes to the tournament as it came; the wire does not judge."""
    tournament = HeldDesk()
    with Server() as server, Daemon(server.port, tournament):
        peer = server.accept()
        peer.queue()
        peer.start()
        tournament.wait_for("step")
        tournament.replies[0](ACTION)
        bad = [*START[:6], *[math.nan] * 3, math.inf, -math.inf, -0.0, *START[12:]]
        step, ready, end = peer.send(
            peer.request("Step", obv=bad),
            peer.request("Ready"),
            peer.request("EndGame", result=False, stats=[0.0, 0.0]),
        )
        _, match_id, seen = tournament.wait_for("step")
        assert match_id == GAME_ID and [repr(value) for value in seen] == [repr(value) for value in bad]
        assert tournament.wait_for("end") == ("end", GAME_ID, 0, 0, False)
        tournament.replies[1]((0.0, -0.0, 1.0, -1.0))
        assert [repr(value) for value in peer.action(step)] == ["0.0", "-0.0", "1.0", "-1.0"]
        tournament.wait_for("saving")[1]()
        assert peer.answer(ready) and peer.answer(end)


def test_a_step_outlives_its_match_and_the_next_one_begins() -> None:
    tournament = HeldDesk()
    tournament.on_end = elsewhere
    with Server() as server, Daemon(server.port, tournament):
        peer = server.accept()
        peer.queue()
        old = peer.start()
        peer.answer(peer.end(0.0, 1.0)[1])
        new = peer.start(OTHER_GAME)
        assert [tournament.wait_for("step")[1] for _ in range(2)] == [GAME_ID, OTHER_ID]
        tournament.replies[1]((1.0, 1.0, 1.0, 1.0))
        assert peer.action(new) == [1.0] * 4 and old not in peer.answers
        tournament.replies[0](ACTION)
        assert peer.action(old) == list(ACTION)


def test_a_step_after_the_end_belongs_to_the_match_that_was() -> None:
    with Server() as server, Daemon(server.port) as daemon:
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        session = daemon.tournament.participants[0].session
        for tag in peer.end(0.0, 1.0):
            peer.answer(tag)
        assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
        assert session is not None and len(session.steps) == 2


def test_a_match_begins_while_another_one_is_open() -> None:
    with Server() as server, Daemon(server.port) as daemon:
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        peer.action(peer.start(OTHER_GAME))
        assert daemon.tournament.wait_for("abandon") == ("abandon", GAME_ID, "the server began another match")
        assert daemon.tournament.wait_for("begin") == ("begin", OTHER_ID)
        for tag in peer.end(2.0, 2.0):
            peer.answer(tag)
        assert daemon.tournament.wait_for("end")[1] == OTHER_ID


def test_the_same_match_announced_twice_is_one_match() -> None:
    with Server() as server, Daemon(server.port) as daemon:
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        peer.action(peer.start())
        for tag in peer.end(1.0, 0.0, result=True):
            peer.answer(tag)
        kinds = [event[0] for event in daemon.tournament.drain()]
        assert kinds.count("begin") == kinds.count("end") == 1 and "abandon" not in kinds


def test_a_step_without_a_match_is_answered_with_zeros(caplog: pytest.LogCaptureFixture) -> None:
    with Server() as server, Daemon(server.port) as daemon:
        peer = server.accept()
        peer.queue()
        assert peer.action(peer.ask("Step", obv=START)) == [0.0] * 4
        kinds = [event[0] for event in daemon.tournament.drain()]
        assert kinds == ["open", "ready"]
    assert "without a match" in texts(caplog.records)


def test_the_end_of_no_match_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    with Server() as server, Daemon(server.port) as daemon:
        peer = server.accept()
        peer.queue()
        end = peer.ask("EndGame", result=True, stats=[4.0, 0.0])
        assert peer.answer(end) == {"_answer": end.encode()}
        peer.action(peer.start())
        first, second = peer.end(1.0, 0.0)[1], peer.end(1.0, 0.0)[1]
        assert peer.answer(first) and peer.answer(second)
        assert [event[0] for event in daemon.tournament.drain()].count("end") == 1
    assert texts(caplog.records).count("not in play") == 2


def test_ready_twice_is_one_place_in_the_queue() -> None:
    with Server() as server, Daemon(server.port) as daemon:
        peer = server.accept()
        peer.queue()
        assert peer.answer(peer.ask("Ready"))["ready"] == b"True"
        peer.action(peer.start())
        assert [event[0] for event in daemon.tournament.drain()].count("ready") == 1


def test_a_match_without_login_or_question() -> None:
    """The real server would never; it is played all the same."""
    with Server() as server, Daemon(server.port):
        peer = server.accept()
        assert peer.action(peer.start()) == list(ACTION)
        assert peer.answer(peer.ask("Auth"))["version"] == b"1"


def test_three_open_requests_are_answered_in_any_order() -> None:
    tournament = HeldDesk()
    with Server() as server, Daemon(server.port, tournament):
        peer = server.accept()
        peer.queue()
        step = peer.start()
        tournament.wait_for("step")
        ready, end = peer.end(0.0, 0.0)
        _, saved = tournament.wait_for("saving")
        peer.answer(ready)
        elsewhere(saved)
        peer.answer(end)
        assert step in peer.owed
        elsewhere(tournament.replies[0], ACTION)
        assert peer.action(step) == list(ACTION)


def test_unknown_commands_are_refused_politely(caplog: pytest.LogCaptureFixture) -> None:
    """As AMP does, with the code that the real server uses; in the queue and in a match."""
    with Server() as server, Daemon(server.port):
        peer = server.accept()
        peer.queue()
        for command in ("Dance", "step", "StartTLS", "", b"\xff\xfe", "__class__", "x" * 65535):
            tag = peer.ask(command, obv=START)
            refusal = peer.answer(tag)
            assert refusal.keys() == {"_error", "_error_code", "_error_description"}
            assert refusal["_error_code"] == b"UNHANDLED" and len(refusal["_error_description"]) < 200
        step = peer.start()
        assert peer.answer(peer.ask("Dance"))["_error_code"] == b"UNHANDLED"
        assert peer.action(step) == list(ACTION)
        assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
    assert "unknown command b'Dance'" in texts(caplog.records)


@pytest.mark.parametrize("tag", [b"", b"\0\xff", b"t" * 65535], ids=["empty", "binary", "longest"])
def test_tags_are_echoed_verbatim(tag: bytes) -> None:
    unplugged = Unplugged()
    unplugged.feed(write_box({"_ask": tag, "_command": "Auth"}))
    assert unplugged.line.value().startswith(b"\0\x07_answer" + len(tag).to_bytes(2, "big") + tag + b"\0\x05token")


def test_requests_without_a_tag_are_not_answered() -> None:
    unplugged = Unplugged()
    for command in ("Ready", "StartGame", "Step", "EndGame", "Message", "Error", "Dance"):
        unplugged.feed(write_box({"_command": command}))
    assert unplugged.line.value() == b"" and not unplugged.line.is_closed
    assert unplugged.tournament.wait_for("begin")


def test_stray_answers_are_overheard(caplog: pytest.LogCaptureFixture) -> None:
    with Server() as server, Daemon(server.port):
        peer = server.accept()
        peer.queue()
        step = peer.start()
        peer.socket.sendall(write_box({"_answer": "77"}) + write_box({"_error": "78", "_error_code": "UNKNOWN"}))
        assert peer.action(step) == list(ACTION)
        assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
    assert texts(caplog.records).count("nobody had asked") == 2


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"obv": ["abc", "1.5", "", "1e400"]}, ["nan", "1.5", "nan", "inf"]),
        ({"obv": []}, []),
        ({}, []),
        ({"obv": b"\0\x031.5\0\x091.2"}, ["1.5"]),
        ({"obv": [*START[:17], 1.0, 2.0]}, [*map(repr, START[:17]), "1.0", "2.0"]),
    ],
    ids=["no numbers", "empty", "missing", "cut off", "one more"],
)
def test_steps_that_cannot_be_read_are_answered(fields: dict[str, list[str] | bytes], seen: list[str]) -> None:
    unplugged = Unplugged()
    unplugged.feed(write_box({"_ask": "1", "_command": "StartGame", "game_id": GAME}))
    unplugged.feed(write_box({"_ask": "2", "_command": "Step", **fields}))
    session = unplugged.tournament.participants[0].session
    assert session is not None and [repr(value) for value in session.steps[0]] == seen
    assert list(unplugged.answers()) == ["1", "2"] and not unplugged.line.is_closed


@pytest.mark.parametrize("stats", [["abc", "1.0"], [1.0], [], ["nan", "0.0"], ["-1.0", "0.0"], ["1e300", "0.0"]])
def test_an_unreadable_score_gives_the_match_up_and_is_answered(stats: list[str | float]) -> None:
    unplugged = Unplugged()
    unplugged.feed(write_box({"_ask": "1", "_command": "StartGame", "game_id": GAME}))
    unplugged.feed(write_box({"_ask": "2", "_command": "EndGame", "result": "perhaps", "stats": stats}))
    assert unplugged.tournament.wait_for("abandon") == ("abandon", GAME_ID, "the server told no score")
    assert list(unplugged.answers()) == ["1", "2"] and not unplugged.line.is_closed


def test_an_unreadable_result_still_ends_the_match() -> None:
    unplugged = Unplugged()
    unplugged.feed(write_box({"_ask": "1", "_command": "StartGame", "game_id": GAME}))
    unplugged.feed(write_box({"_ask": "2", "_command": "EndGame", "result": "true", "stats": [2.0, 1.0]}))
    assert unplugged.tournament.wait_for("end") == ("end", GAME_ID, 2, 1, None)


def test_messages_are_logged_in_one_line_and_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Server() as server, Daemon(server.port):
        peer = server.accept()
        peer.queue()
        for text in (b"Welcome\r\nback \x1b[31m", b"caf\xc3\xa9 \xff", b"x" * 65535, f"your token is {TOKEN}"):
            peer.answer(peer.ask("Message", msg=text))
        peer.answer(peer.ask("Message"))
    said = [record.getMessage() for record in caplog.records if "says" in record.getMessage()]
    assert "the server says: Welcome  back  [31m" in said[1] and "café" in said[2] and len(said[3]) < 1000
    assert "your token is ***" in said[4] and all(text.isprintable() for text in said)


@pytest.mark.parametrize("method", ["begin", "step", "end"])
def test_an_error_at_the_desk_does_not_cost_the_connection(method: str, caplog: pytest.LogCaptureFixture) -> None:
    tournament = FakeTournament()
    tournament.broken = {method}
    with Server() as server, Daemon(server.port, tournament):
        peer = server.accept()
        peer.queue()
        assert peer.action(peer.start()) == (list(ACTION) if method == "end" else [0.0] * 4)
        for tag in peer.end(1.0, 0.0):
            peer.answer(tag)
        tournament.broken.clear()
        assert peer.action(peer.start(OTHER_GAME)) == list(ACTION)
    assert f"{method} is broken" in texts(caplog.records)


def test_an_error_when_asked_for_a_match_declines_it_and_connects_again(caplog: pytest.LogCaptureFixture) -> None:
    tournament = FakeTournament()
    tournament.broken = {"wants_match"}
    with Server() as server, Daemon(server.port, tournament):
        peer = server.accept()
        peer.log_in()
        assert peer.answer(peer.ask("Ready"))["ready"] == b"False"
        peer.expect_end()
        tournament.broken.clear()
        server.accept().queue()
    assert "wants_match is broken" in texts(caplog.records)


@pytest.mark.parametrize(
    "action", [(0.0, 0.0, 0.0), (0.0,) * 5, (math.nan, 0.0, 0.0, 0.0), (1.0000001192092896, 0, 0, 0), "four", None]
)
def test_a_wrong_action_never_reaches_the_server(action: object, caplog: pytest.LogCaptureFixture) -> None:
    tournament = FakeTournament()
    tournament.on_step = lambda session, obs, reply: reply(action)  # type: ignore[arg-type]
    unplugged = Unplugged(tournament)
    unplugged.feed(write_box({"_ask": "1", "_command": "StartGame", "game_id": GAME}))
    unplugged.feed(write_box({"_ask": "2", "_command": "Step", "obv": START}))
    zeros = write_box({"_answer": "2", "action": [0.0] * 4})
    assert unplugged.answers()["2"] == zeros and "zeros instead of" in texts(caplog.records)


def test_a_second_reply_is_not_sent() -> None:
    tournament = FakeTournament()
    tournament.on_step = lambda session, obs, reply: [reply(ACTION), reply(ACTION)]  # type: ignore[func-returns-value]
    tournament.on_end = lambda saved: [saved(), saved()]  # type: ignore[func-returns-value]
    with Server() as server, Daemon(server.port, tournament):
        peer = server.accept()
        peer.queue()
        peer.action(peer.start())
        for tag in peer.end(1.0, 0.0):
            peer.answer(tag)
        peer.answer(peer.ask("Message", msg="still here"))  # a second answer would have come first


def test_actions_are_the_doubles_of_the_reply() -> None:
    numbers = (0.1, 5e-324, -0.9999999999999999, 1 / 3)
    assert doubles_of(numbers) == list(numbers)
    tournament = FakeTournament()
    tournament.on_step = lambda session, obs, reply: reply(numbers)
    unplugged = Unplugged(tournament)
    unplugged.feed(write_box({"_ask": "1", "_command": "StartGame", "game_id": GAME}))
    unplugged.feed(write_box({"_ask": "2", "_command": "Step", "obv": START}))
    texts_sent = [b"0.1", b"5e-324", b"-0.9999999999999999", b"0.3333333333333333"]
    assert unplugged.answers()["2"] == write_box({"_answer": "2", "action": texts_sent})
    assert read_floats(b"".join(len(text).to_bytes(2, "big") + text for text in texts_sent)) == list(numbers)


def test_match_ids() -> None:
    assert match_id_of(bytes.fromhex("80ff95098e7046708d79fc3da5b19fd4")) == "80ff9509-8e70-4670-8d79-fc3da5b19fd4"
    others = [match_id_of(game_id) for game_id in (b"", b"x", b"y" * 17, b"\xff" * 65535)]
    assert len(set(others)) == 4 and all(str(uuid.UUID(text)) == text for text in others)
    assert match_id_of(b"x") == others[1]


def test_scores() -> None:
    assert goals_of([3.0, 1.0]) == (3, 1) and goals_of([0.0, -0.0]) == (0, 0)
    for stats in ([], [1.0], [1.0, 2.0, 3.0], [math.inf, 0.0], [math.nan, 0.0], [-1.0, 0.0], [0.0, 1e18]):
        assert goals_of(stats) is None

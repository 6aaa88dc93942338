"""Playing on a comprl server: whatever it asks, in whatever order, gets one valid answer."""

from __future__ import annotations

import logging
import math
import uuid

import pytest

from competitor.engine.session import Reply
from tests.competitor.daemon.comprl_harness import (
    ACTION,
    Daemon,
    FakeSession,
    FakeTournament,
    Unplugged,
    connected,
    elsewhere,
)
from tests.competitor.daemon.misbehaving_server import GAME, GAME_ID, START, Server
from tests.competitor.daemon.shared import TOKEN
from tests.competitor.wire.boxes import read_floats, write_box

OTHER_GAME = bytes(range(100, 116))
OTHER_ID = str(uuid.UUID(bytes=OTHER_GAME))


class HoldingTournament(FakeTournament):
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
    with connected(in_match=True) as (_, daemon, peer):
        assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
        assert peer.finish_match(3.0, 1.0, result=True)
        assert daemon.tournament.wait_for("end") == ("end", GAME_ID, 3, 1, True)
    assert not peer.owed


def test_ready_comes_before_the_end_of_the_match() -> None:
    """And is answered before the record of the match is saved."""
    tournament = HoldingTournament()
    with connected(tournament) as (_, _, peer):
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
    tournament = HoldingTournament()
    with connected(tournament) as (_, _, peer):
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
    tournament = HoldingTournament()
    tournament.on_end = elsewhere
    with connected(tournament) as (_, _, peer):
        old = peer.start()
        peer.answer(peer.end(0.0, 1.0)[1])
        new = peer.start(OTHER_GAME)
        assert [tournament.wait_for("step")[1] for _ in range(2)] == [GAME_ID, OTHER_ID]
        tournament.replies[1]((1.0, 1.0, 1.0, 1.0))
        assert peer.action(new) == [1.0] * 4 and old not in peer.answers
        tournament.replies[0](ACTION)
        assert peer.action(old) == list(ACTION)


def test_a_step_after_the_end_belongs_to_the_match_that_was() -> None:
    with connected(in_match=True) as (_, daemon, peer):
        session = daemon.tournament.participants[0].session
        peer.finish_match(0.0, 1.0)
        assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
        assert session is not None and len(session.steps) == 2


def test_a_match_begins_while_another_one_is_open() -> None:
    with connected(in_match=True) as (_, daemon, peer):
        peer.action(peer.start(OTHER_GAME))
        assert daemon.tournament.wait_for("abandon") == ("abandon", GAME_ID, "the server began another match")
        assert daemon.tournament.wait_for("begin") == ("begin", OTHER_ID)
        peer.finish_match(2.0, 2.0)
        assert daemon.tournament.wait_for("end")[1] == OTHER_ID


def test_the_same_match_announced_twice_is_one_match() -> None:
    with connected(in_match=True) as (_, daemon, peer):
        peer.action(peer.start())
        peer.finish_match(1.0, 0.0, result=True)
        kinds = [event[0] for event in daemon.tournament.drain()]
        assert kinds.count("begin") == kinds.count("end") == 1 and "abandon" not in kinds


def test_a_step_without_a_match_is_answered_with_zeros(caplog: pytest.LogCaptureFixture) -> None:
    with connected() as (_, daemon, peer):
        assert peer.action(peer.ask("Step", obv=START)) == [0.0] * 4
        kinds = [event[0] for event in daemon.tournament.drain()]
        assert kinds == ["open", "ready"]
    assert "without a match" in caplog.text


def test_the_end_of_no_match_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    with connected() as (_, daemon, peer):
        end = peer.ask("EndGame", result=True, stats=[4.0, 0.0])
        assert peer.answer(end) == {"_answer": end.encode()}
        peer.action(peer.start())
        first, second = peer.end(1.0, 0.0)[1], peer.end(1.0, 0.0)[1]
        assert peer.answer(first) and peer.answer(second)
        assert [event[0] for event in daemon.tournament.drain()].count("end") == 1
    assert caplog.text.count("not in play") == 2


def test_ready_twice_is_one_place_in_the_queue() -> None:
    with connected() as (_, daemon, peer):
        assert peer.answer(peer.ask("Ready"))["ready"] == b"True"
        peer.action(peer.start())
        assert [event[0] for event in daemon.tournament.drain()].count("ready") == 1


def test_a_match_without_login_or_question() -> None:
    """The real server would never; it is played all the same."""
    with Server() as server, Daemon(server.port):
        peer = server.accept()
        assert peer.action(peer.start()) == list(ACTION)
        assert peer.answer(peer.ask("Auth"))["version"] == b"1"


def test_unknown_commands_are_refused_politely(caplog: pytest.LogCaptureFixture) -> None:
    """As AMP does, with the code that the real server uses; in the queue and in a match."""
    with connected() as (_, _, peer):
        for command in ("Dance", "step", "StartTLS", "", b"\xff\xfe", "__class__", "x" * 65535):
            tag = peer.ask(command, obv=START)
            refusal = peer.answer(tag)
            assert refusal.keys() == {"_error", "_error_code", "_error_description"}
            assert refusal["_error_code"] == b"UNHANDLED" and len(refusal["_error_description"]) < 200
        step = peer.start()
        assert peer.answer(peer.ask("Dance"))["_error_code"] == b"UNHANDLED"
        assert peer.action(step) == list(ACTION)
        assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
    assert "unknown command b'Dance'" in caplog.text


@pytest.mark.parametrize("tag", [b"", b"\0\xff", b"t" * 65535], ids=["empty", "binary", "longest"])
def test_tags_are_echoed_verbatim(tag: bytes) -> None:
    unplugged = Unplugged()
    unplugged.ask(tag, "Auth")
    assert unplugged.line.written.startswith(b"\0\x07_answer" + len(tag).to_bytes(2, "big") + tag + b"\0\x05token")


def test_requests_without_a_tag_are_not_answered() -> None:
    unplugged = Unplugged()
    for command in ("Ready", "StartGame", "Step", "EndGame", "Message", "Error", "Dance"):
        unplugged.feed(write_box({"_command": command}))
    assert unplugged.line.written == b"" and not unplugged.line.is_closed
    assert unplugged.tournament.wait_for("begin")


def test_answers_that_nobody_asked_for_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    with connected() as (_, _, peer):
        step = peer.start()
        peer.socket.sendall(write_box({"_answer": "77"}) + write_box({"_error": "78", "_error_code": "UNKNOWN"}))
        assert peer.action(step) == list(ACTION)
        assert peer.action(peer.ask("Step", obv=START)) == list(ACTION)
    assert caplog.text.count("nobody had asked") == 2


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
    unplugged.ask("1", "StartGame", game_id=GAME)
    unplugged.ask("2", "Step", **fields)
    session = unplugged.tournament.participants[0].session
    assert session is not None and [repr(value) for value in session.steps[0]] == seen
    assert list(unplugged.answers()) == ["1", "2"] and not unplugged.line.is_closed


@pytest.mark.parametrize(
    "stats",
    [["abc", "1.0"], [1.0], [], ["nan", "0.0"], ["-1.0", "0.0"], ["1e300", "0.0"], ["inf", "0.0"], [1.0, 2.0, 3.0]],
)
def test_an_unreadable_score_gives_the_match_up_and_is_answered(stats: list[str | float]) -> None:
    unplugged = Unplugged()
    unplugged.ask("1", "StartGame", game_id=GAME)
    unplugged.ask("2", "EndGame", result="perhaps", stats=stats)
    assert unplugged.tournament.wait_for("abandon") == ("abandon", GAME_ID, "the server sent no score")
    assert list(unplugged.answers()) == ["1", "2"] and not unplugged.line.is_closed


def test_an_unreadable_result_still_ends_the_match() -> None:
    unplugged = Unplugged()
    unplugged.ask("1", "StartGame", game_id=GAME)
    unplugged.ask("2", "EndGame", result="true", stats=[2.0, 1.0])
    assert unplugged.tournament.wait_for("end") == ("end", GAME_ID, 2, 1, None)


def test_messages_are_logged_in_one_line_and_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with connected() as (_, _, peer):
        for text in (b"Welcome\r\nback \x1b[31m", b"caf\xc3\xa9 \xff", b"x" * 65535, f"your token is {TOKEN}"):
            peer.answer(peer.ask("Message", msg=text))
        peer.answer(peer.ask("Message"))
    said = [record.getMessage() for record in caplog.records if "says" in record.getMessage()]
    assert "the server says: Welcome  back  [31m" in said[1] and "café" in said[2] and len(said[3]) < 1000
    assert "your token is ***" in said[4] and all(text.isprintable() for text in said)


@pytest.mark.parametrize("method", ["begin", "step", "end"])
def test_an_error_at_the_tournament_does_not_cost_the_connection(method: str, caplog: pytest.LogCaptureFixture) -> None:
    tournament = FakeTournament()
    tournament.broken = {method}
    with connected(tournament) as (_, _, peer):
        assert peer.action(peer.start()) == (list(ACTION) if method == "end" else [0.0] * 4)
        peer.finish_match(1.0, 0.0)
        tournament.broken.clear()
        assert peer.action(peer.start(OTHER_GAME)) == list(ACTION)
    assert f"{method} is broken" in caplog.text


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
    assert "wants_match is broken" in caplog.text


@pytest.mark.parametrize(
    "action", [(0.0, 0.0, 0.0), (0.0,) * 5, (math.nan, 0.0, 0.0, 0.0), (1.0000001192092896, 0, 0, 0), "four", None]
)
def test_a_wrong_action_never_reaches_the_server(action: object, caplog: pytest.LogCaptureFixture) -> None:
    tournament = FakeTournament()
    tournament.on_step = lambda session, obs, reply: reply(action)  # type: ignore[arg-type]
    unplugged = Unplugged(tournament)
    unplugged.ask("1", "StartGame", game_id=GAME)
    unplugged.ask("2", "Step", obv=START)
    zeros = write_box({"_answer": "2", "action": [0.0] * 4})
    assert unplugged.answers()["2"] == zeros and "zeros instead of" in caplog.text


def test_a_second_reply_is_not_sent() -> None:
    tournament = FakeTournament()
    tournament.on_step = lambda session, obs, reply: [reply(ACTION), reply(ACTION)]  # type: ignore[func-returns-value]
    tournament.on_end = lambda saved: [saved(), saved()]  # type: ignore[func-returns-value]
    with connected(tournament, in_match=True) as (_, _, peer):
        peer.finish_match(1.0, 0.0)
        peer.answer(peer.ask("Message", msg="still here"))  # a second answer would have come first


def test_actions_are_the_doubles_of_the_reply() -> None:
    numbers = (0.1, 5e-324, -0.9999999999999999, 1 / 3)
    tournament = FakeTournament()
    tournament.on_step = lambda session, obs, reply: reply(numbers)
    unplugged = Unplugged(tournament)
    unplugged.ask("1", "StartGame", game_id=GAME)
    unplugged.ask("2", "Step", obv=START)
    texts_sent = [b"0.1", b"5e-324", b"-0.9999999999999999", b"0.3333333333333333"]
    assert unplugged.answers()["2"] == write_box({"_answer": "2", "action": texts_sent})
    assert read_floats(b"".join(len(text).to_bytes(2, "big") + text for text in texts_sent)) == list(numbers)


def test_match_ids() -> None:
    """The UUID whose 16 bytes the server sends; another one of its own for every other id."""
    games = [bytes.fromhex("80ff95098e7046708d79fc3da5b19fd4"), b"", b"x", b"y" * 17, b"\xff" * 65535, b"x"]
    unplugged = Unplugged()
    for game in games:
        unplugged.ask(b"%d" % len(unplugged.answers()), "StartGame", game_id=game)
    ids = [event[1] for event in unplugged.tournament.drain() if event[0] == "begin"]
    assert ids[0] == "80ff9509-8e70-4670-8d79-fc3da5b19fd4" and ids[2] == ids[5]
    assert len(set(ids)) == 5 and all(str(uuid.UUID(text)) == text for text in ids)

"""The recorded session against the comprl wire: the answers are the recorded ones, byte by byte."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from competitor.engine.session import Reply
from tests.competitor.daemon.comprl_harness import Daemon, FakeSession, FakeTournament, Unplugged, elsewhere
from tests.competitor.daemon.misbehaving_server import Peer, Server
from tests.competitor.wire.boxes import first_box, read_floats, write_box

CAPTURE = Path(__file__).parents[2] / "data" / "comprl_capture.jsonl.gz"


@dataclass(frozen=True)
class Recorded:
    """A box of the recording."""

    from_server: bool
    tag: str
    fields: dict[str, Any]
    data: bytes


def value_of(recorded: Any) -> Any:
    """A field as text, list of texts, or the bytes that are written in hex."""
    is_hex = isinstance(recorded, str) and recorded.startswith("hex:")
    return bytes.fromhex(recorded.removeprefix("hex:")) if is_hex else recorded


def read_capture() -> Iterator[Recorded]:
    with gzip.open(CAPTURE, "rt") as lines:
        for line in lines:
            entry = json.loads(line)
            fields = {key: value_of(value) for key, value in entry["box"].items()}
            tag = fields.get("_ask") or fields["_answer"]
            yield Recorded(entry["dir"] == "s2c", tag, fields, write_box(fields))


@pytest.fixture(scope="module")
def capture() -> list[Recorded]:
    return list(read_capture())


def asked(capture: list[Recorded]) -> list[Recorded]:
    return [box for box in capture if box.from_server]


def expected(capture: list[Recorded]) -> dict[str, bytes]:
    return {box.tag: box.data for box in capture if not box.from_server}


class RecordedTournament(FakeTournament):
    """Answers the steps with the recorded actions, in their order."""

    def __init__(self, capture: list[Recorded]) -> None:
        super().__init__()
        actions = [box.fields["action"] for box in capture if "action" in box.fields]
        self._actions = iter([tuple(float(text) for text in action) for action in actions])
        self._steps = iter([box.fields["obv"] for box in capture if "obv" in box.fields])
        self.on_step = self._answer

    def _answer(self, session: FakeSession, obs: list[float], reply: Reply) -> None:
        assert [repr(value) for value in obs] == next(self._steps)
        self._reply(reply, next(self._actions))

    def _reply(self, reply: Reply, action: Any) -> None:
        elsewhere(reply, action)

    def check_matches(self) -> None:
        """The tournament has heard of the two matches of the recording and of the score of the first."""
        events = [event for event in self.drain() if event[0] not in ("ready", "closed")]
        first, second = "80ff9509-8e70-4670-8d79-fc3da5b19fd4", "87802a0a-0d76-4e61-af7b-488fbf544727"
        assert events == [("open", "comprl-1"), ("begin", first), ("end", first, 0, 3, False), ("begin", second)]


class PromptTournament(RecordedTournament):
    """Replies within the call."""

    def _reply(self, reply: Reply, action: Any) -> None:
        reply(action)


def play_back(peer: Peer, capture: list[Recorded]) -> None:
    """Send the recorded requests, each after the answers that came before it."""
    pending = b""
    for box in capture:
        if box.from_server:
            peer.owed.add(box.tag)
            pending += box.data
            continue
        peer.socket.sendall(pending)
        pending = b""
        peer.answer(box.tag)
    assert not pending and not peer.owed


def test_the_recording_is_what_the_protocol_page_says(capture: list[Recorded]) -> None:
    """Bytes spelled out on the page: this checks the box writer of the tests."""
    assert len(capture) == 1432 and len(asked(capture)) == 716
    assert capture[0].data.hex() == "00045f61736b00013100085f636f6d6d616e640004417574680000"
    token = "0005746f6b656e0006746f6b656e31000776657273696f6e000131"
    assert capture[1].data.hex() == "00075f616e73776572000131" + token + "0000"
    action = expected(capture)["6"]
    assert len(action) == 77 and read_floats(first_box(action)[0]["action"])[0] == 1.0  # type: ignore[index]


def test_byte_exact_over_tcp(capture: list[Recorded]) -> None:
    """Requests that the server sent together may be answered in any order, as the protocol has it: by tag."""
    tournament = RecordedTournament(capture)
    with Server() as server, Daemon(server.port, tournament, token="token1"):
        peer = server.accept()
        play_back(peer, capture)
        assert peer.raw == expected(capture)
    assert tournament.heard == len(asked(capture)) - 1  # all but Auth
    tournament.check_matches()


@pytest.mark.parametrize("piece", [1, 7, 1 << 20], ids=["bytes", "pieces of 7", "all at once"])
def test_byte_exact_however_the_stream_is_cut(capture: list[Recorded], piece: int) -> None:
    """Without a network, where every cut is certain; answers come in the order of the requests."""
    tournament = PromptTournament(capture)
    unplugged = Unplugged(tournament, token="token1")
    stream = b"".join(box.data for box in asked(capture))
    for at in range(0, len(stream), piece):
        unplugged.feed(stream[at : at + piece])
    assert list(unplugged.answers().items()) == list(expected(capture).items())
    tournament.check_matches()


def test_everything_at_once_over_tcp(capture: list[Recorded]) -> None:
    """A server that does not wait for answers; they still all come, each once."""
    with Server() as server, Daemon(server.port, PromptTournament(capture), token="token1"):
        peer = server.accept()
        requests = asked(capture)
        peer.owed = {box.tag for box in requests}
        peer.socket.sendall(b"".join(box.data for box in requests))
        while peer.owed:
            assert peer.read_answer() is not None
        assert peer.raw == expected(capture)

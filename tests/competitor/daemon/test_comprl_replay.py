"""The recorded session against the comprl wire: the answers are the recorded ones, byte by byte."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.competitor.daemon.comprl_harness import Daemon
from tests.competitor.daemon.misbehaving_server import Server
from tests.competitor.engine.fakes import FakeBrain
from tests.competitor.wire.boxes import read_floats, write_box

CAPTURE = Path(__file__).parents[2] / "data" / "comprl_capture.jsonl.gz"
MATCHES = ("80ff9509-8e70-4670-8d79-fc3da5b19fd4", "87802a0a-0d76-4e61-af7b-488fbf544727")


def value_of(recorded: Any) -> Any:
    """A field as text, list of texts, or the bytes that are written in hex."""
    is_hex = isinstance(recorded, str) and recorded.startswith("hex:")
    return bytes.fromhex(recorded.removeprefix("hex:")) if is_hex else recorded


def read_capture() -> list[tuple[bool, dict[str, Any]]]:
    """Each box: whether it came from the server, and its fields."""
    with gzip.open(CAPTURE, "rt") as lines:
        entries = [json.loads(line) for line in lines]
    return [(entry["dir"] == "s2c", {key: value_of(value) for key, value in entry["box"].items()}) for entry in entries]


class RecordedBrain(FakeBrain):
    """Acts as it did when the session was recorded."""

    def __init__(self, actions: list[list[float]]) -> None:
        super().__init__()
        self._actions = iter(actions)

    def act(self, slots: Any, *_: Any) -> np.ndarray:
        return np.array([next(self._actions) for _ in slots])


def test_the_boxes_of_the_tests_are_what_the_protocol_page_says() -> None:
    """Bytes spelled out on the page: this checks the box writer of the tests."""
    (_, asked), (_, answered) = read_capture()[:2]
    assert write_box(asked).hex() == "00045f61736b00013100085f636f6d6d616e640004417574680000"
    token = "0005746f6b656e0006746f6b656e31000776657273696f6e000131"
    assert write_box(answered).hex() == "00075f616e73776572000131" + token + "0000"


def test_byte_exact_over_tcp() -> None:
    """Requests that the server sent together may be answered in any order, as the protocol has it: by tag."""
    capture = read_capture()
    actions = [[float(text) for text in fields["action"]] for _, fields in capture if "action" in fields]
    seen = [[float(text) for text in fields["obv"]] for _, fields in capture if "obv" in fields]
    with Server() as server, Daemon(server.port, token="token1", brain=RecordedBrain(actions)) as daemon:
        peer = server.accept()
        pending = b""
        for from_server, fields in capture:
            if from_server:
                peer.owed.add(fields["_ask"])
                pending += write_box(fields)
            else:
                peer.socket.sendall(pending)
                pending = b""
                peer.answer(fields["_answer"])
        assert not pending and not peer.owed
        expected = {fields["_answer"]: write_box(fields) for from_server, fields in capture if not from_server}
        assert len(expected) == 716 and peer.raw == expected
        assert daemon.telemetry.numbers().messages == len(expected) - 1  # all but Auth
    first, second = daemon.kept.matches
    assert (first.match_id, second.match_id) == MATCHES and (first.own, first.other, first.result) == (0, 3, "L")
    assert [*first.obs.tolist(), *second.obs.tolist()] == seen and second.ending == "abandoned"
    assert read_floats(peer.answers["6"]["action"]) == actions[0]

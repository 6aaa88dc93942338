"""Properties of what the comprl wire reads and writes, for any bytes and any cuts between them."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.protocols import amp

from competitor.wire import comprl_commands as commands
from tests.competitor.daemon.comprl_harness import ACTION, FakeTournament, Unplugged
from tests.competitor.daemon.misbehaving_server import GAME, GAME_ID, START
from tests.competitor.wire.boxes import first_box, read_floats, write_box

floats = st.floats(allow_nan=True, allow_infinity=True)
observations = st.one_of(
    *(st.lists(floats, min_size=size, max_size=size) for size in (18, 17)), st.lists(floats, max_size=40)
)
texts = st.one_of(
    st.sampled_from(b"nan|-nan|inf|-inf|-0.0|1| 0.5 |1e-3|1e999||0x1p3|\xb2".split(b"|")),
    st.binary(max_size=30),
)
unit = st.floats(-1.0, 1.0)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces, cut at these places."""
    bounds = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]


places = st.lists(st.integers(0, 1 << 16), max_size=60)


def a_match(observed: list[list[float]]) -> bytes:
    """The bytes of a whole match with these observations."""
    boxes = [{"_command": "Auth"}, {"_command": "Ready"}, {"_command": "StartGame", "game_id": GAME}]
    boxes += [{"_command": "Step", "obv": obs} for obs in observed]
    boxes += [{"_command": "Ready"}, {"_command": "EndGame", "result": True, "stats": [1.0, 0.0]}]
    return b"".join(write_box({"_ask": f"{number:x}", **box}) for number, box in enumerate(boxes, 1))


@given(st.lists(observations, max_size=6), places)
def test_every_observation_arrives_however_the_stream_is_cut(observed: list[list[float]], cuts: list[int]) -> None:
    unplugged = Unplugged()
    sessions = []
    unplugged.tournament.on_step = lambda session, obs, reply: (sessions.append((session, obs)), reply(ACTION))
    for piece in cut(a_match(observed), cuts):
        unplugged.feed(piece)
    assert repr([obs for _, obs in sessions]) == repr(observed)
    assert all(session.match_id == GAME_ID for session, _ in sessions)
    answers = unplugged.answers()
    assert list(answers) == [f"{number:x}" for number in range(1, 6 + len(observed))]
    steps = [first_box(raw)[0] for raw in list(answers.values())[3:-2]]  # type: ignore[index]
    assert all(read_floats(box["action"]) == list(ACTION) for box in steps)
    assert unplugged.tournament.wait_for("end") == ("end", GAME_ID, 1, 0, True)


@given(st.lists(st.tuples(unit, unit, unit, unit), min_size=1, max_size=5))
def test_actions_arrive_as_the_same_doubles(actions: list[tuple[float, float, float, float]]) -> None:
    tournament, waiting = FakeTournament(), list(actions)
    tournament.on_step = lambda session, obs, reply: reply(waiting.pop(0))
    unplugged = Unplugged(tournament)
    unplugged.feed(a_match([START] * len(actions)))
    boxes = [first_box(raw)[0] for raw in unplugged.answers().values()]  # type: ignore[index]
    sent = [[repr(value) for value in read_floats(box["action"])] for box in boxes if "action" in box]
    assert sent == [[repr(value) for value in action] for action in actions]


@given(st.lists(texts, max_size=20))
def test_texts_that_are_no_numbers_are_nan(written: list[bytes]) -> None:
    """As long as Python's float reads them they are numbers, as for the server."""

    def number(text: bytes) -> str:
        try:
            return repr(float(text))
        except ValueError:
            return "nan"

    unplugged = Unplugged()
    seen = []
    unplugged.tournament.on_step = lambda session, obs, reply: (seen.extend(obs), reply(ACTION))
    unplugged.feed(write_box({"_ask": "1", "_command": "StartGame", "game_id": GAME}))
    unplugged.feed(write_box({"_ask": "2", "_command": "Step", "obv": written}))
    assert [repr(value) for value in seen] == [number(text) for text in written]
    assert list(unplugged.answers()) == ["1", "2"]


@given(st.binary(max_size=400), places)
def test_any_bytes_are_survived(data: bytes, cuts: list[int]) -> None:
    unplugged = Unplugged()
    for piece in cut(data, cuts):
        unplugged.feed(piece)
    assert len(unplugged.sent()) <= data.count(b"_ask")


@given(
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4),
    places,
    st.booleans(),
)
def test_damaged_matches_are_survived(damages: list[tuple[int, int]], cuts: list[int], late: bool) -> None:
    """No exception reaches the reactor, and every request is answered once, unless the connection had to be closed."""
    stream = bytearray(a_match([START, START]))
    for place, value in damages:
        stream[place % len(stream)] = value
    unplugged = Unplugged()
    replies = []
    if late:
        unplugged.tournament.on_step = lambda session, obs, reply: replies.append(reply)
    for piece in cut(bytes(stream), cuts):
        unplugged.feed(piece)
    for reply in replies:
        reply(ACTION)
    asked = Counter(tags_of_requests(bytes(stream)))
    answered = Counter(tag for tag, _ in unplugged.sent())
    assert answered == asked or (unplugged.line.is_closed and answered <= asked)


def tags_of_requests(stream: bytes) -> list[bytes]:
    """The tags in the stream, up to the first place where it is not AMP."""
    replies = {b"_answer", b"_error"}
    return [
        box[b"_ask"] for box in amp_boxes(stream) if {b"_ask", b"_command"} <= box.keys() and not replies & box.keys()
    ]


def amp_boxes(stream: bytes) -> list[amp.AmpBox]:
    """The stream's complete boxes, by Twisted's parser."""

    class Boxes:
        def __init__(self) -> None:
            self.found: list[amp.AmpBox] = []

        def startReceivingBoxes(self, sender: object) -> None: ...

        def ampBoxReceived(self, box: amp.AmpBox) -> None:
            self.found.append(box)

        def stopReceivingBoxes(self, reason: object) -> None: ...

    receiver = Boxes()
    parser = amp.BinaryBoxProtocol(receiver)
    parser.makeConnection(StringTransport())
    parser.dataReceived(stream)
    return receiver.found


@given(st.lists(floats, max_size=30), st.booleans(), st.binary(max_size=20))
def test_what_the_arena_writes_the_player_reads(values: list[float], result: bool, text: bytes) -> None:
    """The commands are shared: written by one side, read by the other."""
    written = [
        commands.Step.makeArguments({"obv": values}, None),
        commands.EndGame.makeArguments({"result": result, "stats": values}, None),
        commands.Message.makeArguments({"msg": text}, None),
    ]
    step, end, message = (
        command.parseArguments(box, None)
        for command, box in zip((commands.Step, commands.EndGame, commands.Message), written, strict=True)
    )
    assert repr(step["obv"]) == repr(end["stats"]) == repr(values)
    assert end["result"] is result and message["msg"] == text
    assert bytes(written[0][b"obv"]) == first_box(write_box({"obv": values}))[0]["obv"]  # type: ignore[index]

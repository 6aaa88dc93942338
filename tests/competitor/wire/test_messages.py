"""The messages of the WebSocket protocol: what they are on the wire, and that nothing else is taken for one."""

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from competitor.wire import messages
from competitor.wire.messages import MOST_BYTES, MessageError, decode_from_client, decode_from_server, encode
from competitor.wire.names import LONGEST_TEXT

fixed = settings(max_examples=300)

DOUBLES = st.one_of(
    st.floats(width=64), st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
)
IDS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=messages.LONGEST_ID)
TEXTS = st.text(max_size=LONGEST_TEXT).filter(str.isprintable)
COUNTS = st.integers(0, 2**53)
RATINGS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
OBS = st.lists(DOUBLES, max_size=30).map(tuple)

FROM_CLIENT = st.one_of(
    st.builds(messages.Hello, version=st.integers(), client=TEXTS),
    st.builds(messages.Ready, matches=st.integers(0, messages.MOST_MATCHES)),
    st.builds(messages.Action, match=IDS, step=COUNTS, action=OBS),
    st.builds(messages.Seen, match=IDS),
    st.builds(messages.Leave, match=IDS),
)
FROM_SERVER = st.one_of(
    st.builds(messages.Welcome, version=st.integers(), player=TEXTS, deadline_s=RATINGS, rating=RATINGS),
    st.builds(messages.Start, match=IDS, opponent=st.none() | TEXTS, rounds=st.integers(1, 2**53)),
    st.builds(messages.Step, match=IDS, step=COUNTS, obs=OBS),
    st.builds(messages.End, match=IDS, own=COUNTS, other=COUNTS, won=st.none() | st.booleans(), rating=RATINGS),
    st.builds(messages.Error, code=TEXTS, message=TEXTS, match=st.none() | IDS),
    st.builds(messages.Notice, message=TEXTS),
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NAMES = ["hello", "ready", "action", "seen", "leave", "welcome", "start", "step", "end", "error", "notice"]
FIELDS = ["version", "client", "matches", "match", "step", "action", "player", "deadline_s", "rating", "opponent"]
FIELDS += ["rounds", "obs", "own", "other", "won", "code", "message"]
ALMOST = st.builds(
    lambda name, fields: {**fields, "type": name},
    st.sampled_from(NAMES),
    st.dictionaries(st.sampled_from(FIELDS), ANY_JSON | st.lists(st.floats() | st.none(), max_size=20)),
)


def bits(values: tuple[float, ...]) -> list[bytes]:
    """Doubles to compare: every NaN is one, and what is infinite has become one."""
    return [struct.pack("<d", value if math.isfinite(value) else math.nan) for value in values]


def same(before: Any, after: Any) -> bool:
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, tuple):
            old, new = bits(old), bits(new)
        if old != new:
            return False
    return type(before) is type(after)


@fixed
@given(FROM_CLIENT)
def test_client_messages_come_back_bit_for_bit(message: messages.ClientMessage) -> None:
    if len(encode(message).encode()) <= MOST_BYTES:
        assert same(message, decode_from_client(encode(message)))


@fixed
@given(FROM_SERVER)
@example(messages.Step(match="m", step=1, obs=(-0.0, 5e-324, 1.7976931348623157e308, math.nan, math.inf, -math.inf)))
def test_server_messages_come_back_bit_for_bit(message: messages.ServerMessage) -> None:
    if len(encode(message).encode()) <= MOST_BYTES:
        assert same(message, decode_from_server(encode(message).encode()))


@fixed
@given(st.binary() | st.text())
def test_any_bytes_are_a_message_or_the_one_error(frame: bytes | str) -> None:
    for decode in (decode_from_client, decode_from_server):
        with pytest.raises(MessageError) as caught:
            decode(frame)
        assert len(str(caught.value)) < 300


@fixed
@given(ANY_JSON | ALMOST, st.booleans())
def test_any_json_is_a_message_or_the_one_error(value: Any, ascii_only: bool) -> None:
    frame = json.dumps(value, ensure_ascii=ascii_only)
    for decode in (decode_from_client, decode_from_server):
        try:
            message = decode(frame)
        except MessageError as error:
            assert str(error).isprintable() and len(str(error)) < 300
        else:
            assert message.type == value["type"]


def test_what_goes_over_the_wire() -> None:
    assert encode(messages.Action(match="a", step=7, action=(1.0, -0.0, 0.1, math.nan))) == (
        '{"type":"action","match":"a","step":7,"action":[1.0,-0.0,0.1,null]}'
    )
    assert encode(messages.Ready(matches=2)) == '{"type":"ready","matches":2}'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", math.nan),
        ("NaN", math.nan),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
        ("1e999", math.inf),
        ("-1" + 400 * "0", -math.inf),
        ("3", 3.0),
        ("-0.0", -0.0),
        ("0.1000000000000000055511151231257827", 0.1),
    ],
)
def test_numbers_as_they_may_be_written(text: str, value: float) -> None:
    step = decode_from_server(f'{{"type":"step","match":"m","step":1,"obs":[{text}]}}')
    assert isinstance(step, messages.Step)
    assert struct.pack("<d", step.obs[0]) == struct.pack("<d", value)


def test_unknown_fields_are_ignored_and_most_fields_may_be_missing() -> None:
    start = decode_from_server('{"type":"start","match":"m","arena":{"name":"x"}}')
    assert start == messages.Start(match="m", opponent=None, rounds=4)
    end = decode_from_server('{"type":"end","match":"m","own":3.0,"other":1,"rating":NaN}')
    assert end == messages.End(match="m", own=3, other=1, won=None, rating=None)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ("{}", "an object without a type"),
        ('{"type":"sing"}', "unknown type 'sing'"),
        ('{"type":"action","match":"m","step":1,"action":[0,0,0,0]}', "unknown type 'action'"),
        ('{"type":"step","match":"m","step":1}', "step.obs: Field required"),
        ('{"type":"step","match":"m","step":1,"obs":["0"]}', "step.obs.0: Input should be a valid number"),
        ('{"type":"step","match":"m","step":1,"obs":[true]}', "step.obs.0: Input should be a valid number"),
        ('{"type":"step","match":"m","step":-1,"obs":[]}', "step.step: Input should be greater"),
        ('{"type":"step","match":7,"step":1,"obs":[]}', "step.match: Input should be a valid string"),
        ('{"type":"start","match":""}', "start.match: String should have at least 1"),
        (f'{{"type":"start","match":"{129 * "x"}"}}', "start.match: String should have at most 128"),
        ('{"type":"start","match":"a\\nb"}', "control characters"),
        ('{"type":"start","match":"m","rounds":0}', "start.rounds: Input should be greater"),
        ('{"type":"end","match":"m","own":0.5,"other":1}', "end.own: Input should be a valid integer"),
        ('{"type":"notice","message":"\\ud800"}', "Invalid JSON"),
        (b'{"type":"notice","message":"\xff"}', "Invalid JSON"),
        ('{"x":' + 5000 * "[", "Invalid JSON"),
        (f'{{"type":"notice","message":"{MOST_BYTES * "x"}"}}', "65536 are allowed"),
    ],
)
def test_what_is_not_a_message(frame: str | bytes, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        decode_from_server(frame)


def test_texts_cannot_harm_a_log() -> None:
    notice = decode_from_server(json.dumps({"type": "notice", "message": "a\r\n\x1b[2Jb\u202e" + 600 * "c"}))
    assert isinstance(notice, messages.Notice)
    assert notice.message.startswith("a   [2Jb c") and len(notice.message) == LONGEST_TEXT


def test_a_client_may_not_ask_for_any_number_of_matches() -> None:
    for matches in (-1, messages.MOST_MATCHES + 1, 1.5, True):
        with pytest.raises(MessageError, match="ready.matches"):
            decode_from_client(json.dumps({"type": "ready", "matches": matches}))

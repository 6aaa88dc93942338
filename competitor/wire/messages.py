"""The messages of this project's WebSocket protocol, version 1; docs/protocol.md tells when they come.

==================== ==================================== ==================================================
client to server     fields                               means
==================== ==================================== ==================================================
hello                version, client                      first message of a connection
ready                matches                              so many matches may run at once; 0: no new ones
action               match, step, action (4 numbers)      the answer to a step, in [-1, 1]
seen                 match                                the match's record is safe; until then it counts as running
leave                match                                gives a match up; no end follows
-------------------- ------------------------------------ --------------------------------------------------
server to client     fields                               means
-------------------- ------------------------------------ --------------------------------------------------
welcome              version, player, deadline_s, rating  the answer to hello
start                match, opponent, rounds              a match begins; its name is never used again
step                 match, step, obs (18 numbers)        asks for an action; steps count from 1 over the match
end                  match, own, other, won, rating       the match is over, nothing more comes of it
error                code, message, match                 something is not accepted; a match named here is over
notice               message                              text for a person
==================== ==================================== ==================================================

A message is one JSON object in one text frame. Numbers that are not finite travel as null and are read as NaN;
NaN and Infinity are read as well. Unknown fields are ignored. The lists of `step` and `action` may have any
length here: a wrong one is judged by the reader, who by then knows which match and step it belongs to.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

from competitor.wire.names import one_line

PROTOCOL_VERSION = 1
PATH = "/play"
MOST_BYTES = 64 * 1024  # of one message
MOST_MATCHES = 1024  # that a client can ask for
LARGEST = 1e9  # seconds or rating points: what is beyond is none
LONGEST_ID = 128

# Codes of `error` that programs react to.
VERSION = "version"
INVALID_ACTION = "invalid action"
TIMEOUT = "timeout"
BAD_MESSAGE = "bad message"


Redact = Callable[[str], str]  # takes secrets out of a text


class MessageError(ValueError):
    """A frame that is not a message of this protocol; the text says why and never quotes more than a name."""


def _number(value: Any) -> Any:
    if value is None:
        return math.nan
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("control characters are not allowed")
    return text


def _sensible_or_none(value: float | None) -> float | None:
    return value if value is not None and abs(value) <= LARGEST else None


def _harmless(text: str, info: ValidationInfo) -> str:
    return one_line(text, info.context or str)


Numbers = tuple[Annotated[float, BeforeValidator(_number)], ...]
Text = Annotated[str, AfterValidator(_harmless)]
MatchId = Annotated[str, Field(min_length=1, max_length=LONGEST_ID), AfterValidator(_printable)]
Whole = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(_whole)]
OptionalFloat = Annotated[float | None, AfterValidator(_sensible_or_none)]


class Message(BaseModel):
    """Base of all messages: frozen, strict about types, unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Hello(Message):
    type: Literal["hello"] = "hello"
    version: int
    client: Text = ""


class Ready(Message):
    type: Literal["ready"] = "ready"
    matches: Annotated[int, Field(ge=0, le=MOST_MATCHES)]


class Action(Message):
    type: Literal["action"] = "action"
    match: MatchId
    step: Whole
    action: Numbers


class Seen(Message):
    type: Literal["seen"] = "seen"
    match: MatchId


class Leave(Message):
    type: Literal["leave"] = "leave"
    match: MatchId


class Welcome(Message):
    type: Literal["welcome"] = "welcome"
    version: int
    player: Text = ""
    deadline_s: OptionalFloat = None
    rating: OptionalFloat = None


class Start(Message):
    type: Literal["start"] = "start"
    match: MatchId
    opponent: str | None = None
    rounds: Annotated[Whole, Field(ge=1)] = 4


class Step(Message):
    type: Literal["step"] = "step"
    match: MatchId
    step: Whole
    obs: Numbers


class End(Message):
    type: Literal["end"] = "end"
    match: MatchId
    own: Whole
    other: Whole
    won: bool | None = None
    rating: OptionalFloat = None


class Error(Message):
    type: Literal["error"] = "error"
    code: Text
    message: Text = ""
    match: MatchId | None = None


class Notice(Message):
    type: Literal["notice"] = "notice"
    message: Text


ClientMessage = Hello | Ready | Action | Seen | Leave
ServerMessage = Welcome | Start | Step | End | Error | Notice
Kind = TypeVar("Kind")

_FROM_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="type")])
_FROM_SERVER: TypeAdapter[ServerMessage] = TypeAdapter(Annotated[ServerMessage, Field(discriminator="type")])


def encode(message: ClientMessage | ServerMessage) -> str:
    """The message as JSON text. Doubles read back to the same bits; what is not finite becomes null."""
    return message.model_dump_json()


def decode_from_client(frame: str | bytes) -> ClientMessage:
    """The client's message in a text frame. Raises MessageError, and nothing else, when it is none."""
    return _decode(_FROM_CLIENT, frame)


def decode_from_server(frame: str | bytes, redact: Redact = str) -> ServerMessage:
    """The server's message in a text frame, its texts for a person (not the opponent's name) without secrets.

    Raises MessageError, and nothing else, when it is none.
    """
    return _decode(_FROM_SERVER, frame, redact)


def _decode(adapter: TypeAdapter[Kind], frame: str | bytes, redact: Redact = str) -> Kind:
    data = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
    if len(data) > MOST_BYTES:
        raise MessageError(f"a message of {len(data)} bytes, {MOST_BYTES} are allowed")
    try:
        return adapter.validate_json(data, context=redact)
    except ValidationError as error:
        raise MessageError(_explain(error, redact)) from None


def _explain(error: ValidationError, redact: Redact) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    if problem["type"] == "union_tag_invalid":
        return f"unknown type {one_line(str(problem['ctx']['tag']), redact)[:40]!r}"
    if problem["type"] == "union_tag_not_found":
        return "an object without a type"
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]

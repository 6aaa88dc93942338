"""Properties of what the comprl commands read and write."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols.amp import AmpBox

from competitor.wire import comprl_commands as commands
from tests.competitor.wire.boxes import first_box, write_box, write_value

floats = st.floats(allow_nan=True, allow_infinity=True)
texts = st.one_of(
    st.sampled_from(b"nan|-nan|inf|-inf|-0.0|1| 0.5 |1e-3|1e999||0x1p3|\xb2".split(b"|")), st.binary(max_size=30)
)


def read(data: bytes) -> list[float]:
    """The observation of a Step whose value has these bytes."""
    found: list[float] = commands.Step.parseArguments(AmpBox({b"obv": data}), None)["obv"]
    return found


@given(st.lists(texts, max_size=20))
def test_texts_that_are_no_numbers_are_nan(written: list[bytes]) -> None:
    """As long as Python's float reads them they are numbers, as for the server."""

    def number(text: bytes) -> str:
        try:
            return repr(float(text))
        except ValueError:
            return "nan"

    assert [repr(value) for value in read(write_value(written))] == [number(text) for text in written]


@given(st.binary(max_size=100))
def test_any_bytes_are_a_list(data: bytes) -> None:
    assert len(read(data)) <= len(data) / 2


def test_what_follows_the_last_whole_number_is_left_out() -> None:
    assert read(b"\0\x031.5\0\x091.2") == [1.5]
    step = commands.Step.parseArguments(AmpBox(), None)
    assert step["obv"] is None


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

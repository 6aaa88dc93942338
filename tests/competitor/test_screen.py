"""Tables, facts and lines on narrow terminals, in other encodings, in pipes; other people's text is only text."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import cli
from competitor.errors import StorageError, plain
from competitor.screen import (
    PIPE_WIDTH,
    ReaderLeft,
    Table,
    counter,
    fact_lines,
    fits,
    make_console,
    print_facts,
    print_line,
    print_table,
    table_lines,
    text_output,
    wrapped,
)

TABLE = Table(["name", "Elo", "W/D/L"], [["weak", "+695 ± 69", "971/22/7"], ["first/latest", "-3 ± 1", "1/2/3"]], "Who")
WORD = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=12)


def console_of(width: int, encoding: str = "utf-8") -> Console:
    return Console(file=io.TextIOWrapper(io.BytesIO(), encoding=encoding), width=width)


def text_of(console: Console) -> str:
    console.file.flush()
    return console.file.buffer.getvalue().decode(console.encoding)  # type: ignore[attr-defined, no-any-return]


def test_a_table_stands_in_columns_where_it_fits() -> None:
    console = console_of(33)
    print_table(TABLE, console)
    assert text_of(console).splitlines() == [
        "Who",
        "name                Elo     W/D/L",
        "─" * 33,
        "weak          +695 ± 69  971/22/7",
        "first/latest     -3 ± 1     1/2/3",
        "",
    ]


def test_a_table_that_does_not_fit_is_stacked() -> None:
    console = console_of(32)
    print_table(TABLE, console)
    lines = text_of(console).splitlines()
    assert lines[:5] == ["Who", "─" * 20, "name   weak", "Elo    +695 ± 69", "W/D/L  971/22/7"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("width", [80, 33, 20])
def test_a_poor_encoding_costs_no_line(encoding: str, width: int) -> None:
    console = console_of(width, encoding)
    print_table(Table(TABLE.columns, [*TABLE.rows, ["Ильяс …", "±", "→"]], "Wer – 日本"), console)
    print_line("a ± b – 日", console)
    print_facts({"Größe": "5 ± 1"}, console)
    text = text_of(console)
    assert "971/22/7" in text and "\\u0418" in text and text.count("\n") > 6
    assert ("+695 +- 69" if encoding == "ascii" else "+695 ± 69") in text


def test_in_ascii_the_columns_still_stand_below_each_other() -> None:
    console = console_of(80, "ascii")
    print_table(TABLE, console)
    head, _, one, other = text_of(console).splitlines()[1:5]
    assert len(head) == len(one) == len(other) and one.endswith("+695 +- 69  971/22/7")


@given(st.lists(st.lists(WORD, min_size=3, max_size=3), min_size=1, max_size=4), st.integers(1, 100))
def test_no_word_is_lost_broken_or_cut_at_any_width(rows: list[list[str]], width: int) -> None:
    table = Table(["one", "two", "three"], rows)
    lines = table_lines(table, width)
    words = [word for line in lines for word in line.split()]
    for row in rows:
        assert all(cell in words for cell in row)
    longest = max(cell_len(word) for row in rows for word in [*row, "three"])
    assert all(cell_len(line) <= max(width, longest + 2) for line in lines)
    assert fits(table, width) == (len(lines) == len(rows) + 3)


@given(st.text(max_size=60), st.integers(1, 40))
def test_wrapping_keeps_every_word(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert " ".join(lines).split() == text.split()
    assert all(cell_len(line) <= width or len(line.split()) <= 1 for line in lines)


def test_a_fact_that_does_not_fit_beside_its_name_stands_below_it() -> None:
    digest = "f00d" * 16
    assert fact_lines([("saved", "now"), ("sha256", digest)], 100) == ["saved   now", f"sha256  {digest}"]
    assert fact_lines([("saved", "now"), ("sha256", digest)], 40) == ["saved   now", "sha256", f"  {digest}"]
    assert fact_lines([("model", "hidden 192, groups 16")], 20) == ["model  hidden 192,", "       groups 16"]


@pytest.mark.parametrize("text", ["[bold]x/a", "[/bold]", ":smile:", "[link=http://x]y[/link]", "\\[x]"])
def test_markup_is_text(text: str) -> None:
    console = console_of(80)
    print_table(Table([text], [[text]], text), console)
    print_line(text, console)
    print_facts({text: text}, console)
    assert text_of(console).count(text) == 6


def test_what_a_terminal_obeys_is_escaped() -> None:
    console = console_of(80)
    print_line("a\x1b[2Jb\x07\r\n\t\u202e\udcff\x9b", console)
    assert text_of(console) == "a\\x1b[2Jb\\x07\\r\\n\\t\\u202e\\udcff\\x9b\n"
    assert plain("Ilyas ± 日本 é") == "Ilyas ± 日本 é"


@pytest.mark.parametrize("none", ["0", "", "-5", "²", "9" * 5000])
def test_a_pipe_has_no_width_unless_it_is_given(none: str, monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert make_console().width == PIPE_WIDTH
    monkeypatch.setenv("COLUMNS", "60")
    assert make_console().width == 60
    monkeypatch.setenv("COLUMNS", none)
    assert make_console().width == PIPE_WIDTH


def test_a_pipe_that_takes_colours_is_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = make_console()
    assert console.is_terminal and console.width == PIPE_WIDTH and not console.is_interactive


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe (to read from, to write to)."""
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_an_output_of_another_encoding_takes_any_text(pipe: tuple[int, int]) -> None:
    with text_output(pipe[1], "ascii") as output:
        output.write("5 ± 1 …\u0416")
    assert os.read(pipe[0], 100) == b"5 +- 1 ...\\u0416"


def test_a_reader_that_leaves_is_no_error(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    output = text_output(pipe[1], "utf-8")
    with pytest.raises(ReaderLeft):
        Console(file=output).print("much")
    output.write("more, which goes nowhere")
    output.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_an_output_on_a_full_disk_is_named() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    output = text_output(descriptor, "utf-8")
    with pytest.raises(StorageError, match="standard output cannot be written: No space left"):
        click.echo("much", file=output)
    output.close()
    os.close(descriptor)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize(("end", "code"), [(">&-", 0), ("<&- >&- 2>&-", 0), ("nowhere 2>/dev/full", 2)])
def test_outputs_that_are_closed_or_full_change_no_exit_code(end: str, code: int, tmp_path: Path) -> None:
    command = f'"{sys.executable}" "{Path(cli.__file__)}" runs {end}'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_counter_shows_only_on_a_terminal() -> None:
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), width=60, force_terminal=is_terminal)
        with counter("rounds", console) as count:
            count(3, 8)
        assert ("3/8" in console.file.getvalue()) == is_terminal  # type: ignore[attr-defined]

"""What commands print, read at any width, in poor encodings and in a pipe."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cli
from competitor.config import shipped
from competitor.daemon.records import Records
from competitor.screen import text_output
from dreamer.checkpoint import load_checkpoint, save_checkpoint
from tests.competitor.play.made_matches import recorded_match
from tests.end_to_end.test_runs import evaluated, made_run

COMMANDS = {
    "evaluate": ["evaluate", "weak", "--against", "strong,random", "--rounds", "4"],
    "evaluate --cross": ["evaluate", "weak", "--cross", "--against", "strong,random", "--rounds", "2"],
    "info": ["info", "champion"],
    "sparring list": ["sparring", "list"],
    "sparring recipes": ["sparring", "recipes"],
}
WORDS = {
    "evaluate": ["strong", "random", "win rate", "normalised Elo", "other's start", "8 rounds in"],
    "evaluate --cross": ["1 ", "3 ", "rating", "points", "±"],
    "info": ["parameters", "measured results", "opponent", "95 %"],
    "sparring list": ["striker", "won-drawn-lost", "style"],
    "sparring recipes": ["veteran", "TQC"],
}
Shown = Callable[..., str]


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Runs a command whose standard output is a file; returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def show(arguments: list[str], columns: int | None = None, encoding: str = "utf-8") -> str:
        if columns is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(columns))
        with (tmp_path / "shown").open("wb") as file, text_output(file.fileno(), encoding) as output:
            monkeypatch.setattr(sys, "stdout", output)
            assert cli.run(arguments) in (0, 1)
        return (tmp_path / "shown").read_text(encoding)

    return show


def joined(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize("columns", [120, 80, 60, 40, 20])
@pytest.mark.parametrize("command", COMMANDS)
def test_everything_can_be_read(command: str, columns: int, encoding: str, shown: Shown) -> None:
    text = shown(COMMANDS[command], columns, encoding)
    for word in WORDS[command]:
        wanted = word.replace("±", "+-") if encoding == "ascii" else word
        assert joined(wanted) in joined(text)
    assert "…" not in text and "..." not in text
    for line in text.splitlines():
        assert len(line) <= columns or max(map(len, line.split())) >= columns - 10, line


@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_has_whole_lines(command: str, shown: Shown) -> None:
    text = shown(COMMANDS[command])
    narrow = shown(COMMANDS[command], 40)
    assert len(text.splitlines()) <= len(narrow.splitlines())


@pytest.mark.parametrize("columns", [None, 80, 60, 40, 10])
def test_a_digest_is_never_broken(columns: int | None, shown: Shown) -> None:
    digest = json.loads(shipped("checkpoints/champion.json").read_text())["sha256"]
    assert digest in shown(COMMANDS["info"], columns)


def test_every_number_is_the_same_at_every_width(shown: Shown) -> None:
    wide, narrow = (set(shown(COMMANDS["evaluate"], columns).split()) for columns in (None, 40))
    numbers = {word for word in wide if word[0] in "+-0123456789" and "s" not in word}
    assert len(numbers) > 20 and numbers - narrow <= {word for word in wide if "." in word}


@pytest.mark.parametrize("text", ["[bold]x", "[/bold]", "\x1b[2J\x1b]0;mine\x07", "a\u202eb", ":smile:"])
def test_what_a_card_says_is_only_text(text: str, shown: Shown, tmp_path: Path) -> None:
    agent, card = load_checkpoint(shipped("checkpoints/champion.safetensors"))
    opponent = {"opponent": text, "rounds": 1, "wins": text, "win_rate": None, "ci95": [None]}
    told = {key: value for key, value in card.items() if key != "gauntlet"}
    save_checkpoint(tmp_path / "mine", agent, {**told, "preset": text, "code_version": text, "results": [opponent]})
    out = shown(["info", "mine"])
    escaped = text.replace("\x1b", "\\x1b").replace("\x07", "\\x07").replace("\u202e", "\\u202e")
    assert out.count(escaped) == 4


@pytest.mark.parametrize("name", ["[bold]x/a", "[/bold]", "x\x1b[31m/a", "two\nlines/a"])
def test_a_path_in_an_error_is_only_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["info", name], ["inspect", name], ["evaluate", "weak", "--against", name], ["replay", name]):
        assert cli.run(command) in (4, 5, 10)
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "\x1b" not in err
        assert name.replace("\x1b", "\\x1b").replace("\n", " ") in err


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("columns", [80, 40, 20])
def test_runs_curves_and_standings_can_be_read(columns: int, encoding: str, shown: Shown) -> None:
    made_run("first", evaluated(0, 0.0, 0.25), evaluated(30_000, 600.0, 0.75))
    with Records(Path("records")) as records:
        records.keep(recorded_match(opponent="ada", own=3, other=1, server="ws://h:1/p"), lambda: None)
    sign = "+-" if encoding == "ascii" else "±"
    for arguments, words in {
        ("runs",): ["first", "finished", "30,000", "10.0", "75.0 %"],
        ("plot", "runs/first"): ["0.75", "30,000", "environment steps", "runs/first", "in the end"],
        ("matches", "--opponents"): ["ada", "(100.0 %)", "1/0/0", "3:1", f"+1200 {sign}", "ws://h:1/p"],
    }.items():
        text = shown(list(arguments), columns, encoding)
        for word in words:
            assert word in joined(text)
        for line in text.splitlines():
            assert len(line) <= columns or max(map(len, line.split())) >= columns - 10, line

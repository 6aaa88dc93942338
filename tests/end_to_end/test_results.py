"""Places for results are tried before the work, a result that cannot be written is shown, pipes may close."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cli
from competitor.evaluate import evaluation
from competitor.play.recording import recordings_in

ROOT = Path(cli.__file__).parent
QUICK = ["evaluate", "weak", "--against", "strong", "--rounds", "4"]
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever begins to play, to load or to read fails the test."""
    for name in (
        "competitor.players.make_player",
        "competitor.inspect.inspection.InspectedAgent.load",
        "competitor.play.recording.load_recording",
        "competitor.daemon.database.last_matches",
    ):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("work was begun"))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    "arguments",
    [
        [*QUICK, "--json"],
        ["inspect", "champion", "--json"],
        ["inspect", "champion", "--png"],
        ["inspect", "champion", "--gif"],
        ["watch", "round.npz", "--export"],
        ["matches", "--json"],
        ["matches", "--csv"],
        ["runs", "--json"],
        ["plot", "runs/first", "--png"],
        ["export", "champion", "--numpy"],
        ["export", "champion", "--onnx"],
        [*QUICK, "--record"],
    ],
    ids=" ".join,
)
class TestPlaces:
    """Each option that names a place, with each thing that can be wrong with a place."""

    def place(self, arguments: list[str], folder: str) -> str:
        kind = {"--export": "gif", "--numpy": "py"}.get(arguments[-1], arguments[-1].removeprefix("--"))
        return f"{folder}/a.{kind}"

    def test_a_folder_that_is_a_file(self, arguments: list[str], capsys: Captured) -> None:
        Path("plain").write_text("")
        place = self.place(arguments, "plain/sub")
        assert cli.run([*arguments, place]) == 7
        assert capsys.readouterr().err == f"error: {place} cannot be written: Not a directory\n"

    def test_a_disk_that_is_full(self, arguments: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        place = self.place(arguments, "not/yet")
        assert cli.run([*arguments, place]) == 7
        assert capsys.readouterr().err == f"error: {place} cannot be written: No space left on device\n"
        assert list(Path().iterdir()) == []

    def test_something_else_stands_there(self, arguments: list[str], capsys: Captured) -> None:
        place = self.place(arguments, ".")
        if arguments[-1] == "--record":
            Path(place).write_text("")
        else:
            Path(place).mkdir()
        assert cli.run([*arguments, place]) == 2
        assert place.removeprefix("./") in capsys.readouterr().err

    def test_a_name_that_is_too_long(self, arguments: list[str], capsys: Captured) -> None:
        place = self.place(arguments, "x" * 300) if arguments[-1] == "--record" else f"{'x' * 300}.{arguments[-1][2:]}"
        assert cli.run([*arguments, place]) in (2, 7)
        assert "x" * 300 in capsys.readouterr().err.replace("\n", "")


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("arguments", "suffix"),
    [
        (["watch", "round.npz", "--export", "x.avi"], ".html or .gif or .mp4"),
        (["inspect", "champion", "--gif", "x.GIF.png"], ".gif"),
        (["inspect", "champion", "--png", "x.jpg"], ".png"),
        (["inspect", "champion", "--png", "x"], ".png"),
        (["inspect", "champion", "--png", "/dev/null"], ".png"),  # a picture is renamed into its place
    ],
)
def test_a_suffix_says_what_the_file_is(arguments: list[str], suffix: str, capsys: Captured) -> None:
    assert cli.run(arguments) == 2
    assert f"{arguments[-1]}: the name of this file has to end with {suffix}" in capsys.readouterr().err


def test_a_result_without_a_name(capsys: Captured) -> None:
    assert cli.run([*QUICK, "--json", ""]) == 2
    assert "the name of the file is missing" in capsys.readouterr().err


@FULL
def test_a_result_that_cannot_be_written_is_shown(capsys: Captured) -> None:
    assert cli.run([*QUICK, "--json", "/dev/full"]) == 7
    out, err = capsys.readouterr()
    assert "win rate" in out and "4 rounds in" in out
    assert err == "error: /dev/full cannot be written: No space left on device\n"


def test_a_device_takes_a_result_and_stays_one(capsys: Captured) -> None:
    assert cli.run([*QUICK, "--json", os.devnull]) == 0
    assert not Path(os.devnull).is_file()


def test_rounds_that_were_recorded_before_the_disk_was_full_are_counted(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = evaluation.record_round

    def until_full(directory: Path, *rest: object, **how: object) -> Path:
        if directory.exists() and len(list(directory.iterdir())) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return record(directory, *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluation, "record_round", until_full)
    assert cli.run([*QUICK, "--record", "rounds", "--json", "result.json"]) == 7
    out, err = capsys.readouterr()
    assert "win rate" in out and "4 rounds in" in out
    assert err == "error: rounds holds only the first 3 rounds: No space left on device\n"
    assert len(recordings_in(Path("rounds"))) == 3
    result = json.loads(Path("result.json").read_text())
    assert result["results"][0]["rounds"] == 4 and "first 3 rounds" in result["record_error"]


def program(arguments: list[str]) -> list[str]:
    return [sys.executable, str(ROOT / "cli.py"), *arguments]


def closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


COMMANDS = [["--help"], ["matches"], ["info", "champion"], QUICK]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda one: one[0])
def test_a_reader_that_has_seen_enough_is_no_error(arguments: list[str]) -> None:
    writer = closed_pipe()
    done = subprocess.run(program(arguments), stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


TINY = ["--preset", "debug", "--run", "tiny", "--set", "training.environment_steps=400"]


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize("opened", [closed_pipe, pytest.param(full_disk, marks=FULL)])
def test_a_training_that_nobody_can_read_goes_on_to_its_end(opened: Callable[[], int], tmp_path: Path) -> None:
    out = opened()
    done = subprocess.run(program(["train", *TINY]), cwd=tmp_path, stdout=out, stderr=subprocess.PIPE, text=True)
    os.close(out)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "runs/tiny/state/current").is_file()


@FULL
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda one: one[0])
def test_standard_output_on_a_full_disk_is_named(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(program(arguments), stdout=full, stderr=subprocess.PIPE, text=True)
    wanted = "error: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (7, wanted)


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ("strong,strong", "note: strong is named more than once and takes part once\n"),
        ("strong, strong ,,weak", "note: strong is named more than once and takes part once\n"),
        ("strong", ""),
    ],
)
def test_a_name_that_stands_twice_plays_once(against: str, said: str, capsys: Captured) -> None:
    assert cli.run(["evaluate", "weak", "--against", against, "--rounds", "2", "--json", "result.json"]) == 0
    assert capsys.readouterr().err == said
    results = json.loads(Path("result.json").read_text())["results"]
    assert [one["opponent"] for one in results] == list(
        dict.fromkeys(part.strip() for part in against.split(",") if part)
    )

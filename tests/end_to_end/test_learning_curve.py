"""`benchmarks/learning_curve.py` with a tiny agent: points, files, and going on after a cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import learning_curve
from benchmarks.learning_curve import Curve, read_arguments, run, trained_minutes
from competitor.train.selfplay import Trainer

QUICK = ["--seed", "3", "--preset", "debug", "--every", "0.01", "--rounds", "2"]
DREAM = {"own_h15", "puck_h15", "puck_h7", "goals_seen", "false_alarms", "return_bias"}


def points(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["points"]
    return found


def test_a_curve_is_measured_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, picture = tmp_path / "curve.json", tmp_path / "curve.png"
    files = ["--json", str(out), "--plot", str(picture)]
    assert run(read_arguments([*QUICK, "--minutes", "0.015", *files]), tmp_path) == 0
    facts = json.loads(out.read_text())
    assert {"machine", "date", "code", "settings", "seed", "preset", "threads"} < facts.keys()
    first = facts["points"]
    assert first[-1]["minutes"] >= 0.015 and first[0]["minutes"] >= 0.01
    for one in first[-1]["against"].values():
        assert one["wins"] + one["draws"] + one["losses"] == one["rounds"] == 2 and len(one["ci95"]) == 2
    assert set(first[-1]["dream"]) == DREAM and first[-1]["dream"]["own_h15"] > 0
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"
    assert run(read_arguments([*QUICK, "--minutes", "0.03", *files]), tmp_path) == 0
    again = points(out)
    assert again[: len(first)] == first and again[-1]["minutes"] >= 0.03
    assert again[-1]["environment_steps"] >= first[-1]["environment_steps"]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [facts["run"]]
    out_text = capsys.readouterr().out
    assert "won/drawn/lost" in out_text and "puck h15" in out_text


def test_points_of_an_older_curve_may_say_nothing_of_dreams(capsys: pytest.CaptureFixture[str]) -> None:
    one = {"wins": 1, "draws": 0, "losses": 1, "win_rate": 0.5, "ci95": [0.1, 0.9]}
    old = {"minutes": 10.0, "updates": 5, "environment_steps": 50, "against": {"weak": one, "strong": one}}
    new = old | {"minutes": 20.0, "dream": {"own_h15": 0.25, "goals_seen": None}}
    learning_curve.print_tables([old])
    learning_curve.print_tables([old, new])
    dreams = [line for line in capsys.readouterr().out.splitlines() if "0.25" in line]
    assert len(dreams) == 1 and "20.0" in dreams[0] and "-" in dreams[0]


def test_threads_are_a_setting_and_part_of_the_run_s_name(tmp_path: Path) -> None:
    one, two = (read_arguments([*QUICK, "--minutes", "1", *more]) for more in ([], ["--threads", "2"]))
    assert (one.set, two.set) == ([], ["run.threads=2"])
    assert Curve(one, tmp_path).path != Curve(two, tmp_path).path


def test_a_point_that_was_cut_off_is_made_good_without_more_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = read_arguments([*QUICK, "--minutes", "0.01"])

    def killed(trainer: Trainer, rounds: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(learning_curve, "judge", killed)
        run(arguments, tmp_path)
    curve = Curve(arguments, tmp_path)
    trained = trained_minutes(curve.path)
    assert trained >= 0.01 and not curve.points
    assert run(arguments, tmp_path) == 0
    assert [point["minutes"] for point in points(curve.path / "learning_curve.json")] == [trained]


def test_stopping_saves_and_takes_no_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = read_arguments([*QUICK, "--minutes", "0.01"])
    monkeypatch.setattr(learning_curve, "stopping_on_signals", _Stopped)
    assert run(arguments, tmp_path) == 130
    assert not Curve(arguments, tmp_path).points and Trainer.resume(Curve(arguments, tmp_path).path)


class _Stopped:
    """Stands for a Ctrl-C right at the start."""

    def __init__(self, stop: Any) -> None:
        stop()

    def __enter__(self) -> list[int]:
        return [2]

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--every", "-1"], ["--minutes", "inf"], ["--every", "x"]])
def test_wrong_numbers_are_told(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_arguments([*QUICK, "--minutes", "1", *wrong])
    assert "invalid" in capsys.readouterr().err


def test_a_wrong_setting_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["learning_curve.py", *QUICK, "--minutes", "1", "--set", "model.hiden=3"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        learning_curve.main()
    assert ended.value.code == 3
    assert "did you mean" in capsys.readouterr().err

"""`benchmarks/learning_curve.py` with a tiny agent: points, files, and going on after a cut."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import cli
from benchmarks import learning_curve
from benchmarks.learning_curve import Curve, Options, run, trained_minutes
from competitor.train.selfplay import Trainer

QUICK = Options(minutes=0.01, seed=3, preset="debug", every=0.01, rounds=2)
DREAM = {"own_h15", "puck_h15", "puck_h7", "goals_seen", "false_alarms", "return_bias"}


def points(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["points"]
    return found


def test_a_curve_is_measured_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, picture = tmp_path / "curve.json", tmp_path / "curve.png"
    options = replace(QUICK, json=out, plot=picture, runs=tmp_path)
    assert run(replace(options, minutes=0.015)) == 0
    facts = json.loads(out.read_text())
    assert {"machine", "date", "code", "settings", "seed", "preset", "threads"} < facts.keys()
    first = facts["points"]
    assert first[-1]["minutes"] >= 0.015 and first[0]["minutes"] >= 0.01
    for one in first[-1]["against"].values():
        assert one["wins"] + one["draws"] + one["losses"] == one["rounds"] == 2 and len(one["ci95"]) == 2
    assert set(first[-1]["dream"]) == DREAM and first[-1]["dream"]["own_h15"] > 0
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"
    assert run(replace(options, minutes=0.03)) == 0
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


def test_settings_are_part_of_the_run_s_name() -> None:
    assert Curve(QUICK).path != Curve(replace(QUICK, settings=("run.threads=2",))).path
    assert Curve(QUICK).path == Curve(replace(QUICK, minutes=5.0)).path


def test_a_point_that_was_cut_off_is_made_good_without_more_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(QUICK, runs=tmp_path)

    def killed(trainer: Trainer, rounds: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(learning_curve, "judge", killed)
        run(options)
    curve = Curve(options)
    trained = trained_minutes(curve.path)
    assert trained >= 0.01 and not curve.points
    assert run(options) == 0
    assert [point["minutes"] for point in points(curve.path / "learning_curve.json")] == [trained]


def test_stopping_saves_and_takes_no_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = replace(QUICK, runs=tmp_path)
    monkeypatch.setattr(learning_curve, "stopping_on_signals", _Stopped)
    assert run(options) == 130
    assert not Curve(options).points and Trainer.resume(Curve(options).path)


class _Stopped:
    """Stands for a Ctrl-C right at the start."""

    def __init__(self, stop: Any) -> None:
        stop()

    def __enter__(self) -> list[int]:
        return [2]

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        (["--rounds", "0"], 2, "--rounds"),
        (["--every", "-1"], 2, "--every"),
        (["--minutes", "inf"], 2, "--minutes"),
        (["--every", "x"], 2, "--every"),
        (["--set", "model.hiden=3"], 3, "did you mean"),
    ],
)
def test_mistakes_are_told_in_one_line(
    wrong: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["--seed", "3", "--minutes", "1", *wrong], learning_curve.main) == code
    assert said in capsys.readouterr().err

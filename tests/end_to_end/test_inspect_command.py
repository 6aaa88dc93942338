"""`inspect` through the real command: report, files, mistakes."""

import json
import sys
from functools import partial
from pathlib import Path

import pytest

import cli
from competitor.inspect import held_out

LATEST = "runs/first/checkpoints/latest"


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "play_held_out", partial(held_out.play_held_out, basic=3, own=2))


@pytest.mark.usefixtures("few_rounds")
def test_everything_is_written(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = ["--json", "out/dream.json", "--png", "out/dream.png", "--gif", "out/dream.gif"]
    assert cli.run(["inspect", LATEST, "--seed", "7", *written]) == 0
    out = capsys.readouterr().out
    assert f"How well {LATEST} dreams" in out and "seed 7" in out and "note:" not in out
    assert sorted(path.name for path in Path("out").iterdir()) == ["dream.gif", "dream.json", "dream.png"]
    facts, card = (json.loads(Path(name).read_text()) for name in ("out/dream.json", f"{LATEST}.json"))
    assert facts["sha256"] == card["sha256"] and facts["reward"] == card["reward"]
    assert facts["rounds"] == {"basic players": 3, "this agent": 4}


@pytest.mark.usefixtures("few_rounds")
def test_one_seed_gives_one_report(run_copy: Path) -> None:
    for name in ("one.json", "two.json"):
        assert cli.run(["inspect", LATEST, "--json", name]) == 0
    one, two = (json.loads(Path(name).read_text()) | {"seconds": 0} for name in ("one.json", "two.json"))
    assert one == two


def test_recorded_rounds_are_judged_without_the_critic(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["evaluate", "weak", "--against", "strong", "--rounds", "2", "--record", "rounds"]) == 0
    assert cli.run(["inspect", LATEST, "--rounds", "rounds"]) == 0
    out = capsys.readouterr().out
    assert "critic: not judged" in out and "(4 views of recorded rounds)" in out


def test_mistakes_are_one_line_with_a_code(
    run_copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("empty").mkdir()
    (run_copy / "checkpoints" / "best.safetensors").write_bytes(b"nothing")
    cases = [
        (4, ["none"], "there is no checkpoint"),
        (4, ["runs/first/checkpoints/best"], "best.safetensors"),
        (10, [LATEST, "--rounds", "empty"], "no recorded rounds in empty"),
        (10, [LATEST, "--rounds", "absent"], "no recorded rounds in absent"),
        (18, [LATEST, "--png", "dream.png"], "-m pip install 'hockey-dreamer[plots]'"),
        (18, [LATEST, "--gif", "dream.gif"], "-m pip install 'hockey-dreamer[plots]'"),
    ]
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for code, arguments, words in cases:
        assert cli.run(["inspect", *arguments]) == code
        err = capsys.readouterr().err
        assert err.startswith("error: ") and words in err and len(err.splitlines()) == 1
    assert not Path("dream.png").exists() and not Path("dream.gif").exists()

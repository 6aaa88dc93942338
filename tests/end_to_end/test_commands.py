"""The three jobs through the real commands: train, evaluate what came out, resume."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cli
from competitor import __version__
from competitor.config import load_config

ROOT = Path(cli.__file__).parent


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_everything_it_promises(finished_run: Path) -> None:
    config = load_config(finished_run / "config.toml")
    assert config.training.environment_steps == 1200
    assert json.loads((finished_run / "version.json").read_text())["code"].startswith(__version__)
    assert [line for line in metrics(finished_run) if line["updates"] > 0]
    assert list((finished_run / "league").glob("*.safetensors"))
    for name in ("latest", "best"):
        card = json.loads((finished_run / "checkpoints" / f"{name}.json").read_text())
        assert card["preset"] == "debug"


def test_evaluate_writes_the_promised_json(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = str(run_copy / "checkpoints/latest.safetensors")
    assert cli.run(["evaluate", checkpoint, "--rounds", "4", "--json", "result.json"]) == 0
    result = json.loads(Path("result.json").read_text())
    assert [one["opponent"] for one in result["results"]] == ["weak", "strong"]
    for one in result["results"]:
        assert one["wins"] + one["draws"] + one["losses"] == one["rounds"] == 4
        assert one["ci95"][0] <= one["win_rate"] <= one["ci95"][1]
    assert "strong" in capsys.readouterr().out


def test_same_seed_same_results(run_copy: Path) -> None:
    checkpoint = str(run_copy / "checkpoints/latest.safetensors")
    for name in ("one.json", "two.json"):
        command = ["evaluate", checkpoint, "--against", "weak", "--rounds", "4", "--sampled", "--seed", "5"]
        assert cli.run([*command, "--json", name]) == 0
    one, two = (json.loads(Path(name).read_text()) for name in ("one.json", "two.json"))
    assert one["results"] == two["results"]
    assert one["policy"] == "sampled"


def test_recorded_rounds_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "rounds"
    assert cli.run(["evaluate", "weak", "--against", "strong", "--rounds", "2", "--record", str(folder)]) == 0
    files = sorted(folder.iterdir())
    assert len(files) == 2
    capsys.readouterr()
    assert cli.run(["replay", str(files[0])]) == 0
    assert "replays exactly" in capsys.readouterr().out


def test_cross_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["evaluate", "weak", "--against", "strong,random", "--cross", "--rounds", "2"]) == 0
    assert "rating" in capsys.readouterr().out


def test_resume_goes_on_where_the_run_stopped(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = metrics(run_copy)[-1]
    assert (
        cli.run(
            ["train", "--resume", str(run_copy), "--set", "training.environment_steps=1600", "--set", "run.device=auto"]
        )
        == 0
    )
    after = metrics(run_copy)
    assert after[-1]["environment_steps"] > before["environment_steps"]
    assert [line["environment_steps"] for line in after] == sorted(line["environment_steps"] for line in after)
    out = capsys.readouterr().out
    assert "finished after 1,60" in out
    assert "device: cpu (as when the run began); kernels: " in out


def test_a_run_that_is_older_than_a_setting_says_so(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = run_copy / "config.toml"
    lines = settings.read_text().splitlines(keepends=True)
    settings.write_text("".join(line for line in lines if not line.startswith("record_days =")))
    for said in (True, False):
        assert cli.run(["train", "--resume", str(run_copy), "--set", "training.environment_steps=1"]) == 0
        out = capsys.readouterr().out
        assert ("the run is older than these settings, which take their defaults: arena.record_days\n" in out) == said


def test_info_shows_the_card(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["info", str(run_copy / "checkpoints/best")]) == 0
    out = capsys.readouterr().out
    assert "debug" in out
    assert "measured results" in out


@pytest.mark.parametrize("command", sorted(cli.cli.commands))
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([command, "--help"]) == 0
    assert f"cli.py {command}" in capsys.readouterr().out


def test_help_does_not_load_torch() -> None:
    code = "import sys, cli; cli.run(['train', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0


def test_version_names_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"hockey-dreamer {__version__}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_ends(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "cli.py"), "train", "--preset", "debug", "--run", "cut"]
    endless = ["--set", "training.environment_steps=100000000"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, *endless], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("training;"):
                break
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == ""
    assert "interrupted after" in out
    again = shlex.split(out.splitlines()[-1].partition("continue with: ")[2])
    assert again == [*command[:2], "train", "--resume", "runs/cut"]
    assert (tmp_path / "runs/cut/checkpoints/latest.safetensors").is_file()
    assert (tmp_path / "runs/cut/state/current").is_file()

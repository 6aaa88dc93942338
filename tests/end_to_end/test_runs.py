"""`runs`, `plot`, `train --seeds` and `train --logger wandb`, by the real commands."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import cli
from competitor.errors import StorageError
from competitor.train import commands, curves
from competitor.train.metrics import MetricsWriter, read_lines
from competitor.train.run_directory import RunDirectory
from tests.end_to_end.conftest import SMALL, Fails

CONFIG = "[training]\nminutes = 2.0\n"


def listed(capsys: pytest.CaptureFixture[str], *where: str) -> dict[str, dict[str, Any]]:
    """Facts of each run by its path, as --json has them."""
    assert cli.run(["runs", *where, "--json", "runs.json"]) == 0
    capsys.readouterr()
    return {run["run"]: run for run in json.loads(Path("runs.json").read_text())["runs"]}


def made_run(name: str, *lines: dict[str, Any] | str) -> Path:
    """A run directory with this record and the default settings but for two minutes of training."""
    path = Path("runs") / name
    path.mkdir(parents=True)
    (path / "config.toml").write_text(CONFIG)
    (path / "metrics.jsonl").write_text(
        "".join((json.dumps(one) if isinstance(one, dict) else one) + "\n" for one in lines)
    )
    return path


def evaluated(steps: int, seconds: float, score: float) -> dict[str, Any]:
    rates = {"weak/win_rate": score / 2, "strong/win_rate": score / 4}
    return {"kind": "evaluation", "environment_steps": steps, "updates": 1, "seconds": seconds, "score": score, **rates}


def test_a_finished_run_is_listed_and_a_raised_limit_leaves_it_stopped(
    run_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (facts,) = listed(capsys).values()
    lines = read_lines(run_copy / "metrics.jsonl")
    assert facts["state"] == "finished" and facts["environment_steps"] >= 1200
    assert facts["score"] == max(line["score"] for line in lines if "score" in line)
    config = run_copy / "config.toml"
    config.write_text(config.read_text().replace("environment_steps = 1200", "environment_steps = 5000"))
    assert listed(capsys)["runs/first"]["state"] == "stopped"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files have to be UTF-8")
def test_a_run_whose_name_is_not_utf_8_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = made_run(os.fsdecode(b"caf\xe9"), evaluated(100, 1.0, 0.5))
    assert listed(capsys)[str(run)]["score"] == 0.5


def test_who_holds_the_lock_is_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from competitor.system import sole_writer

    monkeypatch.chdir(tmp_path)
    path = made_run("one", evaluated(10, 119.0, 0.5))
    with sole_writer(path, "it"):
        assert listed(capsys)["runs/one"]["state"] == "running"
    assert listed(capsys)["runs/one"]["state"] == "stopped"  # and the lock that is left means nothing


def test_what_is_damaged_or_foreign_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    odd = {**evaluated(20, 121.0, 0.25), "weak/win_rate": "high", "gauntlet/points": True}
    made_run("odd", evaluated(10, 60.0, 0.75), "{", "null", odd)
    made_run("new")
    save = made_run("saved", evaluated(20, 121.0, 0.25)) / "state" / "save-000001"
    save.mkdir(parents=True)
    (save.parent / "current").write_text(save.name)
    counters = {"environment_steps": 30, "updates": 7, "seconds": 180.0}
    (save / "trainer.json").write_text(json.dumps({"counters": counters}))
    (made_run("broken") / "config.toml").write_text("=")
    Path("runs/notes").mkdir()
    facts = listed(capsys)
    assert sorted(facts) == ["runs/broken", "runs/new", "runs/odd", "runs/saved"]
    assert [facts["runs/saved"][key] for key in ("environment_steps", "updates", "minutes")] == [30, 7, 3.0]
    assert facts["runs/odd"] | {"last_line_at": None} == {
        **{"run": "runs/odd", "state": "finished", "environment_steps": 20, "updates": 1, "minutes": 2.0},
        **{"weak": 0.375, "strong": 0.0625, "score": 0.75, "gauntlet": None, "last_line_at": None},
    }
    assert facts["runs/new"]["environment_steps"] == 0 and facts["runs/broken"]["state"] == "stopped"
    assert cli.run(["runs"]) == 0
    assert "37.5 %" in capsys.readouterr().out
    assert cli.run(["runs", "nowhere"]) == 2
    assert "there is no folder nowhere" in capsys.readouterr().err
    assert cli.run(["runs", "runs/notes"]) == 0
    assert "no runs are in runs/notes" in capsys.readouterr().out


def test_curves_are_drawn_with_marks_and_as_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    made_run("up", evaluated(0, 0.0, 0.0), evaluated(1000, 60.0, 1.0))
    made_run("down", evaluated(0, 0.0, 1.0), evaluated(500, 30.0, 0.0))
    both = ["plot", "runs/up", "runs/down"]
    assert cli.run([*both, "--over", "minutes", "--png", "c.png", "--json", "c.json"]) == 0
    out = capsys.readouterr().out
    title, *rows = out[out.index("score") :].splitlines()
    drawn = [row.partition("|")[2] for row in rows[: curves.HEIGHT]]
    assert [row.find("o") for row in drawn] == sorted((row.find("o") for row in drawn), reverse=True)  # it rises
    assert drawn[0].startswith("x") and drawn[-1].startswith("o") and drawn[0].endswith("o")
    assert max(row.rfind("x") for row in drawn) == len(drawn[0]) // 2  # to half of the minutes
    assert all(len(line) <= 60 for line in rows)
    assert "o runs/up  1 in the end" in out and "x runs/down  0 in the end" in out
    assert json.loads(Path("c.json").read_text())["runs"][1] == {"run": "runs/down", "points": [[0.0, 1.0], [0.5, 0.0]]}
    assert Path("c.png").read_bytes().startswith(b"\x89PNG")


def test_numbers_of_any_size_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    huge = [evaluated(0, 0.0, 1e308), evaluated(10**400, 1.0, 0.5), evaluated(10**30, 2.0, -1e308)]
    made_run("huge", *huge, {**evaluated(5, 1.0, 0.0), "seconds": "soon"})
    assert cli.run(["plot", "runs/huge"]) == 0
    assert "1e+30" in capsys.readouterr().out and listed(capsys)["runs/huge"]["environment_steps"] == 5
    made_run("one", evaluated(7, 0.0, 0.5))
    assert cli.run(["plot", "runs/one", "--over", "minutes"]) == 0


def test_wandb_that_fails_is_said_and_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails, capsys: Any
) -> None:
    """A stand-in of wandb's door: it refuses to begin, and it breaks down while numbers come."""
    monkeypatch.chdir(tmp_path)
    wandb = ModuleType("wandb")
    refusal = type("Error", (Exception,), {})
    monkeypatch.setattr(wandb, "Error", refusal, raising=False)
    monkeypatch.setattr(wandb, "Settings", dict, raising=False)

    def refuse(**about: Any) -> None:
        raise refusal("no key")

    monkeypatch.setattr(wandb, "init", refuse, raising=False)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    again = "wandb: no key; run `wandb login` or set WANDB_MODE=offline, then repeat the command"
    assert again in fails(3, "train", *SMALL, "--run", "w", "--logger", "wandb")
    assert not list(Path("runs").iterdir())  # nothing has begun
    calls: list[str] = []
    broken = SimpleNamespace(define_metric=lambda *_, **__: None, log=refuse, finish=lambda: calls.append("finish"))
    monkeypatch.setattr(wandb, "init", lambda **about: broken)
    assert cli.run(["train", *SMALL, "--run", "w", "--logger", "wandb"]) == 0
    said = capsys.readouterr()
    assert said.err.count("wandb takes no more numbers") == 1 and "all is saved in runs/w" in said.out and not calls
    monkeypatch.setattr(wandb, "init", refuse)
    assert again in fails(3, "train", "--resume", "runs/w") and Path("runs/w/state/current").exists()


def test_what_cannot_be_drawn_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, fails: Fails
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [str(made_run(f"run{number}", evaluated(10, 1.0, 0.5))) for number in range(9)]
    assert "there is score" in fails(3, "plot", paths[0], "--metric", "scoer")
    assert "yet" in fails(3, "plot", str(made_run("new")))
    assert cli.run(["plot", "runs"]) == 2 and "runs is not a run" in capsys.readouterr().err
    assert cli.run(["plot", *paths]) == 2 and "more than 8 curves" in capsys.readouterr().err
    assert cli.run(["plot", paths[0], "--png", "c.jpg"]) == 2
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "'plots'" in fails(18, "plot", paths[0], "--png", "c.png")


@pytest.mark.parametrize("text", ["", "1,", "1,x", "-1", "1.5", "2147483648", "٣"])
def test_seeds_are_whole_numbers(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["train", "--seeds", text]) == 2
    assert "not a list of seeds" in capsys.readouterr().err


def test_each_seed_has_a_run_and_ctrl_c_ends_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: Fails
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["train", "--seeds", "1", "--seed", "1"]) == 2
    Path("runs/s-seed-5").mkdir(parents=True)
    assert "runs/s-seed-5 exists" in fails(3, "train", *SMALL, "--run", "s", "--seeds", "4,5")
    assert not Path("runs/s-seed-4").exists()
    shutil.rmtree("runs")
    begun = commands._train

    def full(run: RunDirectory, config: Any) -> None:
        raise StorageError("full")

    def interrupted(trainer: Any, what: str) -> int:
        if trainer.config.run.seed == 5:
            monkeypatch.setattr(trainer, "_prelude", lambda writer: os.kill(os.getpid(), signal.SIGINT))
        return begun(trainer, what)

    monkeypatch.setattr(commands, "_train", interrupted)
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "write_config", full)
        assert cli.run(["train", *SMALL, "--run", "f", "--seeds", "7,8,9"]) == 7
    assert "not begun: --seeds 7,8,9 --run f" in capsys.readouterr().out
    assert cli.run(["train", *SMALL, "--run", "s", "--seeds", "4,5,6"]) == 130
    assert "not begun: --seeds 6 --run s" in capsys.readouterr().out
    facts = listed(capsys)
    assert {run: one["state"] for run, one in facts.items()} == {
        "runs/s-seed-4": "finished",
        "runs/s-seed-5": "stopped",
    }
    assert "seed = 5" in Path("runs/s-seed-5/config.toml").read_text()


def test_without_wandb_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert "hockey-dreamer[wandb]" in fails(18, "train", *SMALL, "--logger", "wandb")
    assert list(tmp_path.iterdir()) == []


def test_wandb_gets_the_numbers_offline_and_goes_on_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    names = set()
    for resumed_at, score in ((None, 0.5), ((10, 1), 0.75)):
        with MetricsWriter(tmp_path, resumed_at=resumed_at, wandb=True) as writer:
            writer.write("evaluation", {"environment_steps": 20, "updates": 1, "seconds": 1.0}, {"score": score})
        wandb.teardown()  # its files are whole then; within a second the next overwrites them
        names.add((tmp_path / "wandb" / "id").read_text().strip())
        written = b"".join(file.read_bytes() for file in (tmp_path / "wandb").glob("offline-run-*/*.wandb"))
        assert b"evaluation/score" in written and str(score).encode() in written
    assert len(names) == 1 and list((tmp_path / "wandb").glob(f"offline-run-*{names.pop()}"))
    assert (tmp_path / "tensorboard").is_dir()

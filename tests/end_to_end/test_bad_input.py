"""Every mistake of a user: a code of its own, one clear line, no traceback, nothing half-written."""

import errno
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save

import cli
from competitor.config import shipped
from dreamer.checkpoint import read_card
from dreamer.pipeline import Pipeline
from tests.end_to_end.conftest import Fails, files

CONFIG, CHECKPOINT, PLAYER, ENGINE, STORAGE, DIVERGENCE, RESUME, RECORDING = 3, 4, 5, 6, 7, 8, 9, 10


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("training.rink=4", "did you mean 'training.rinks'"),
        ("training.rinks=many", 'training.rinks = "many", expected an integer of at least 1'),
        ("foo.bar=1", "unknown section [foo], expected one of run, rink, reward"),
        ("run.zzz=1", "unknown key run.zzz = 1, expected one of seed, threads"),
        ("behavior.action_values=[]", "is fixed at [-1.0, 0.0, 1.0] now: leave it out"),
        ("reward.goal=nan", "expected a finite number"),
        ("no_section", "expected section.key=value"),
    ],
)
def test_wrong_setting(setting: str, words: str, fails: Fails, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in fails(CONFIG, "train", "--set", setting)
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_is_gone(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "the current folder is gone" in fails(STORAGE, "runs")


def test_a_gpu_that_is_not_there(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "finds no CUDA device here" in fails(CONFIG, "train", "--set", "run.device=cuda")
    clash = fails(CONFIG, "train", "--set", "run.device=cuda", "--set", "run.kernels=native")
    assert 'kernels "native" are for the CPU' in clash
    assert not (tmp_path / "runs").exists()


def test_wrong_config_file(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text("[model]\nhiden = 3\n")
    assert "mine.toml: unknown key model.hiden = 3; did you mean" in fails(CONFIG, "train", "--config", "mine.toml")
    assert "there is no configuration file" in fails(CONFIG, "train", "--config", "none.toml")
    assert "unknown preset 'debgu'; did you mean 'debug'" in fails(CONFIG, "train", "--preset", "debgu")


def test_missing_checkpoint(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no checkpoint" in fails(CHECKPOINT, "evaluate", "none.safetensors")
    assert "there is no checkpoint" in fails(CHECKPOINT, "info", "none")
    for folder in (".", "/", ""):
        assert "is no run" in fails(CHECKPOINT, "info", folder)
    assert "there is no sparring partner /" in fails(PLAYER, "evaluate", "sparring:/")


@pytest.mark.parametrize("kept", [0, 7, 1000, -1])
def test_truncated_checkpoint(kept: int, fails: Fails, run_copy: Path) -> None:
    weights = run_copy / "checkpoints/latest.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    assert str(weights) in fails(CHECKPOINT, "evaluate", str(weights))


def test_a_truncated_copy_of_the_card_is_no_harm(run_copy: Path) -> None:
    card = run_copy / "checkpoints/latest.json"
    card.write_bytes(card.read_bytes()[:200])
    assert cli.run(["info", str(card.with_suffix(""))]) == 0


def test_foreign_files(fails: Fails, run_copy: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.safetensors"
    picture.write_bytes(b"\x89PNG" + bytes(1000))
    fails(CHECKPOINT, "evaluate", str(picture))
    (tmp_path / "picture.json").write_text('{"format": "png"}')
    assert "is not the card of" in fails(CHECKPOINT, "evaluate", str(picture))
    shutil.copy(run_copy / "checkpoints/latest.json", tmp_path / "picture.json")
    fails(CHECKPOINT, "evaluate", str(picture))


def test_newer_format(fails: Fails, run_copy: Path) -> None:
    weights = run_copy / "checkpoints/latest.safetensors"
    card = json.dumps({**read_card(weights), "format_version": 99})
    metadata = {"card": card, "card_sha256": hashlib.sha256(card.encode()).hexdigest()}
    weights.write_bytes(save(load_file(weights), metadata))
    assert "99" in fails(CHECKPOINT, "info", str(weights.with_suffix("")))


def test_what_exists_but_is_no_checkpoint(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("foreign.pt").write_bytes(bytes(100))
    for command in ("info", "inspect", "evaluate"):
        assert "foreign.pt is no checkpoint: those are NAME.safetensors" in fails(CHECKPOINT, command, "foreign.pt")


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "champion", "--seed", "18446744073709551616"],
        ["evaluate", "champion", "--seed", "18446744073709551616"],
        ["evaluate", "champion", "--seed", "-1"],
        ["evaluate", "champion", "--rounds", "99999999999999999999"],
        ["evaluate", "champion", "--rounds", "0"],
    ],
)
def test_numbers_out_of_range(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == 2
    assert f"{arguments[-1]} is not in the range" in capsys.readouterr().err


def test_unknown_opponent(fails: Fails) -> None:
    assert "unknown player 'storng'" in fails(PLAYER, "evaluate", "weak", "--against", "storng")
    assert "cannot be loaded" in fails(PLAYER, "evaluate", "weak", "--against", "no_module:Player")


LONG = "a" * 300


@pytest.mark.parametrize("player", [LONG, f"{LONG}/{LONG}", f"sparring:{LONG}", f"search:{LONG}", f"m:{LONG}", "l"])
def test_a_player_whose_name_the_system_refuses_is_an_unknown_one(
    player: str, fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("l").symlink_to("l")
    code = CHECKPOINT if "/" in player else PLAYER  # what has folders is a checkpoint's path
    assert player.rpartition(":")[2] in fails(code, "evaluate", player, "--rounds", "2")
    fails(code, "evaluate", "weak", "--against", player, "--rounds", "2")
    fails(code, "train", "--preset", "debug", "--set", f'league.opponents."{player}"=1')
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", [LONG, "loop"])
def test_a_path_that_the_system_refuses_is_a_missing_one(
    name: str, fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").mkdir() if name != "loop" else None
    for suffix in ("", ".safetensors", ".npz", ".toml"):
        Path(f"loop{suffix}").symlink_to(f"loop{suffix}") if name == "loop" else None
    assert "cannot be read" in fails(CONFIG, "train", "--config", f"{name}.toml")
    for command in (["info"], ["inspect"], ["train", "--start-from"], ["watch", "--agent", name]):
        fails(CHECKPOINT, *command, f"{name}.safetensors")
    for command in (["replay"], ["watch"]):
        fails(RECORDING, *command, f"{name}.npz")
    for command in (["train", "--resume"], ["league", "status"], ["sparring", "export"]):
        fails(RESUME, *command, f"./{name}/x")
    assert cli.run(["runs", f"{name}/x"]) == 2


@pytest.mark.parametrize("command", [["info"], ["inspect"], ["export", "--numpy", "x.py"], ["train", "--start-from"]])
def test_a_partner_where_a_checkpoint_is_wanted(command: list[str], fails: Fails) -> None:
    weights = shipped("checkpoints/sparring/striker.safetensors")
    for name in (str(weights), str(weights.with_suffix(""))):
        assert f"as a player it is sparring:{weights}" in fails(CHECKPOINT, *command, name)
    for player in ("sparring:striker", "weak", "search:champion", "sb3:x.zip"):
        assert f"{player} is a player without a checkpoint" in fails(CHECKPOINT, *command, player)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("evaluate c.safetensors --json c.safetensors", "c.safetensors is no file of results"),
        ("evaluate weak --against weak,./c --json c.json", "--json c.json would be written over what"),
        ("league status p --json p/book.json", "--json p/book.json would be written over what"),
        ("watch r.npz --export r.html --agent r.html", "--export r.html would be written over what"),
        ("inspect c --json a.png --png ./a.png", "--json and --png would both be written to a.png"),
        ("export c --numpy a.py --json a.py", "--numpy and --json would both be written to a.py"),
        ("plot runs --json m.jsonl", "m.jsonl is no file of results"),
        ("matches records --json a.csv --csv b/../a.csv", "--json and --csv would both be written to"),
    ],
)
def test_no_result_is_written_over_another_one_or_over_what_is_read(
    command: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("p", "b", "runs"):
        Path(folder).mkdir()
    for name in ("c.safetensors", "c.json", "p/book.json", "r.npz", "r.html", "m.jsonl"):
        Path(name).write_text("kept")
    before = files(tmp_path)
    assert cli.run(command.split()) == 2
    assert words in capsys.readouterr().err and files(tmp_path) == before


def test_engine_that_is_not_installed(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "hockey", None)
    assert "pip install" in fails(ENGINE, "evaluate", "weak", "--against", "strong", "--engine", "hockey")
    assert "pip install" in fails(ENGINE, "train", "--engine", "hockey")
    assert not Path("runs").exists()


def test_resume_of_another_model(fails: Fails, run_copy: Path) -> None:
    before = files(run_copy)
    line = fails(RESUME, "train", "--resume", str(run_copy), "--set", "model.hidden=64")
    assert "model" in line
    assert files(run_copy) == before


def test_resume_of_no_run(fails: Fails, tmp_path: Path) -> None:
    assert "is not a run directory" in fails(RESUME, "train", "--resume", str(tmp_path / "none"))


def test_resume_of_a_damaged_save(fails: Fails, run_copy: Path) -> None:
    save = run_copy / "state" / (run_copy / "state/current").read_text().strip()
    largest = max((path for path in save.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:500])
    assert str(run_copy) in fails(RESUME, "train", "--resume", str(run_copy))


def test_a_run_is_not_overwritten(fails: Fails, run_copy: Path) -> None:
    before = files(run_copy)
    assert "exists already" in fails(CONFIG, "train", "--preset", "debug", "--run", "first")
    assert files(run_copy) == before


def test_full_disk_keeps_the_save_before(fails: Fails, run_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = (run_copy / "state/current").read_text().strip()
    before = files(run_copy / "state" / save)
    checkpoint = files(run_copy / "checkpoints")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    more = ["--set", "training.environment_steps=1300", "--set", "training.evaluate_every_steps=99999"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        line = fails(STORAGE, "train", "--resume", str(run_copy), *more)
    assert "full" in line or "No space left" in line
    assert (run_copy / "state/current").read_text().strip() == save
    assert files(run_copy / "state" / save) == before
    assert files(run_copy / "checkpoints") == checkpoint
    assert cli.run(["train", "--resume", str(run_copy), *more]) == 0


def test_full_disk_while_results_are_written(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    target = tmp_path / "result.json"
    fails(STORAGE, "evaluate", "weak", "--against", "strong", "--rounds", "2", "--json", str(target))
    assert list(tmp_path.iterdir()) == []


def test_lasting_nan_losses_end_the_training(fails: Fails, run_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pipeline, "train_step", lambda pipeline, batch: {"skipped": 1.0})
    more = ["--set", "training.environment_steps=100000"]
    assert "diverged" in fails(DIVERGENCE, "train", "--resume", str(run_copy), *more)
    assert cli.run(["info", str(run_copy / "checkpoints/latest")]) == 0


def test_damaged_recording(fails: Fails, tmp_path: Path) -> None:
    assert "there is no recorded round" in fails(RECORDING, "replay", str(tmp_path / "none.npz"))
    (tmp_path / "text.npz").write_text("text")
    fails(RECORDING, "replay", str(tmp_path / "text.npz"))


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--debug", "info", "none"]) == CHECKPOINT
    assert "Traceback" in capsys.readouterr().err


def test_wrong_command_lines_are_clicks(capsys: pytest.CaptureFixture[str], run_copy: Path) -> None:
    assert cli.run(["evaluate"]) == 2
    assert cli.run(["train", "--resume", str(run_copy), "--preset", "seed"]) == 2
    assert cli.run(["evaluate", "weak", "--cross", "--record", "rounds"]) == 2
    assert cli.run(["evaluate", "weak", "--against", ","]) == 2
    assert cli.run(["evaluate", "weak", "--against", "weak", "--cross"]) == 2
    assert "Traceback" not in capsys.readouterr().err

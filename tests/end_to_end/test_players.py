"""Players of one's own through the real commands: evaluated, taken to a tournament, seated as a house bot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cli
from competitor.daemon.database import last_matches
from tests.competitor.arena.running import running_arena
from tests.end_to_end.conftest import Fails

ROOT = Path(cli.__file__).resolve().parent
PLAYER, PACKAGE = 5, 18

MINE = """
import numpy as np

class Chaser:
    def reset(self, slots):
        self.slots = slots
    def act(self, obs, is_first):
        action = np.zeros((self.slots, 4))
        action[:, :2] = 9.0 * (obs[:, 12:14] - obs[:, 0:2])
        return action
"""


RUDE = (
    MINE
    + """
import atexit, os, sys, threading
import torch

class Rude(Chaser):
    def __init__(self):
        threading.Thread(target=threading.Event().wait).start()
        atexit.register(threading.Event().wait)
        torch.set_default_dtype(torch.float64)
    def act(self, obs, is_first):
        assert torch.zeros(1).dtype == torch.float64
        os.chdir("/")
        torch.set_default_device("meta")
        np.seterr(all="raise")
        sys.stdout.close()
        return super().act(obs, is_first)
"""
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a module of the user's and files that are called like parts of the program."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "end_to_end_mine.py").write_text(MINE)
    return tmp_path


def records_of(daemon: Path) -> list[dict[str, object]]:
    return [{**vars(listed.row), "answers": json.loads(listed.row.answers)} for listed in last_matches(daemon, 10)]


def compete(spec: str, token: Path, port: int) -> int:
    where = ["--server", f"ws://127.0.0.1:{port}", "--token-file", str(token), "--records", "records"]
    return cli.run(["compete", spec, *where, "--games", "1"])


@pytest.mark.parametrize("spec", ["end_to_end_mine:Chaser", "sparring:striker", "strong"])
def test_a_player_of_any_kind_competes_with_records_like_the_champion_s(spec: str, folder: Path) -> None:
    with running_arena(folder / "arena", bots=("weak",), seed=3) as arena:
        token = folder / "token"
        token.write_text(arena.add_user("me"))
        token.chmod(0o600)
        assert compete(spec, token, arena.http_port) == 0
    (record,) = records_of(Path("records"))
    answers = record["answers"]
    assert (record["ending"], record["checkpoint"]) == ("played", spec)
    assert isinstance(answers, dict) and answers["policy"] > 0
    assert len(str(record["digest"])) == 64


def test_a_class_is_a_house_bot(folder: Path) -> None:
    with running_arena(folder / "arena", bots=("mine=end_to_end_mine:Chaser",), seed=3) as arena:
        token = folder / "token"
        token.write_text(arena.add_user("me"))
        token.chmod(0o600)
        assert compete("weak", token, arena.http_port) == 0
    (record,) = records_of(Path("records"))
    assert (record["opponent"], record["ending"]) == ("mine", "played")


@pytest.mark.parametrize("own", ["end_to_end_mine", "cli", "dreamer", "competitor", "random"])
def test_files_called_like_the_program_s_do_not_break_it(own: str, folder: Path) -> None:
    for name in ("cli", "dreamer", "competitor", "random", "numpy", "statistics"):
        (folder / f"{name}.py").write_text("raise SystemExit(f'{__name__} was imported')\n")
    (folder / f"{own}.py").write_text(MINE.replace("import numpy as np", "") if own == "numpy" else MINE)
    command = [sys.executable, str(ROOT / "cli.py"), "evaluate", f"{own}:Chaser", "--against", "weak", "--rounds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert f"{own}:Chaser" in done.stdout


def test_what_a_class_does_to_the_process_changes_no_result_and_does_not_keep_it(folder: Path) -> None:
    (folder / "end_to_end_rude.py").write_text(RUDE)
    results = {}
    for spec in ("end_to_end_mine:Chaser", "end_to_end_rude:Rude"):
        command = ["evaluate", "champion", "--against", spec, "--rounds", "2", "--json", f"{spec[-4:]}.json"]
        process = [sys.executable, str(ROOT / "cli.py"), *command]
        done = subprocess.run(process, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "2 rounds in" in done.stdout and spec in done.stdout
        (results[spec],) = json.loads((folder / f"{spec[-4:]}.json").read_text())["results"]
        results[spec].pop("opponent")
    assert done.stderr == "note: what a player or a library has left running is not waited for\n"
    assert results["end_to_end_mine:Chaser"] == results["end_to_end_rude:Rude"]


def test_mistakes_are_one_line_with_their_code(folder: Path, fails: Fails) -> None:
    (folder / "ends.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "leaves.py").write_text(MINE.replace("action = np", "raise SystemExit(0)\n        action = np"))
    for command in (("arena", "--bots"), ("evaluate", "champion", "--against")):
        assert "unknown player 'weka': choose one of weak, strong" in fails(PLAYER, *command, "weka")
    assert "sys.exit(0)" in fails(PLAYER, "evaluate", "ends:Player")
    assert "leaves:Chaser failed in act()" in fails(PLAYER, "evaluate", "leaves:Chaser", "--rounds", "2")
    assert "cannot be loaded" in fails(PLAYER, "arena", "--bots", "mine=ends:Player")
    assert "there is no sparring partner nobody" in fails(PLAYER, "evaluate", "sparring:nobody")


def test_without_the_extra_one_line_says_how_to_get_it(
    folder: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    (folder / "mine.zip").touch()
    assert "'hockey-dreamer[baselines]'" in fails(PACKAGE, "evaluate", "sb3:mine.zip")


def test_a_run_is_its_best_checkpoint(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["evaluate", str(run_copy), "--against", "weak", "--rounds", "2", "--json", "result.json"]) == 0
    assert json.loads(Path("result.json").read_text())["checkpoint"] == str(run_copy)
    capsys.readouterr()
    assert cli.run(["info", str(run_copy)]) == 0
    assert "best" in capsys.readouterr().out

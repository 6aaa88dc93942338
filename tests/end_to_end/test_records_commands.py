"""Records through the real commands: `matches` lists them, `train --replay` learns from them."""

import json
from pathlib import Path

import pytest

import cli
from competitor.daemon.database import NAME
from competitor.daemon.records import Records
from tests.competitor.play.made_matches import recorded_match
from tests.end_to_end.conftest import SMALL


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two matches, recorded as the daemon does it, in records/ of the current directory."""
    monkeypatch.chdir(tmp_path)
    with Records(Path("records")) as opened:
        for player in ("p1", "p2"):
            opened.keep(recorded_match("m000", player, opponent="ada"), lambda: None)
    return Path("records")


def test_matches_are_listed(records: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.run(["matches", "--json", "matches.json"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert out.count("ada") == 2 and "2 matches: 1 won, 0 drawn, 1 lost; win rate 50.0 %" in out
    facts = json.loads(Path("matches.json").read_text())
    assert [one["result"] for one in facts["matches"]] in (["W", "L"], ["L", "W"])
    assert (records / facts["matches"][0]["file"]).is_file()
    assert cli.run(["matches", str(records), "--last", "1"]) == 0
    assert capsys.readouterr().out.count("ada") == 1
    assert cli.run(["matches", "--opponent", "bob"]) == 0
    assert capsys.readouterr().out == "no matches are recorded in records that fit\n"


def test_no_matches_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["matches"]) == 0
    assert capsys.readouterr().out == "no matches are recorded in records\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("since", ["0001-01-01", "9999-12-32", "yesterday"])
def test_since_no_moment(since: str, records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["matches", "--since", since]) == 2
    err = capsys.readouterr().err
    assert since in err and "Traceback" not in err


def test_damaged_table(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (records / NAME).write_bytes(b"no database at all " * 99)
    assert cli.run(["matches"]) == 10
    err = capsys.readouterr().err
    assert err.startswith("error: ") and len(err.splitlines()) == 1 and NAME in err


def test_training_with_records_and_resuming(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rounds = ["evaluate", "weak", "--against", "strong", "--rounds", "2", "--record", "rounds"]
    assert cli.run(rounds) == 0
    assert cli.run(["train", *SMALL, "--run", "one", "--replay", "records", "--replay", "rounds"]) == 0
    out = capsys.readouterr().out
    assert "12 views of recorded rounds (" in out and "go into the replay" in out
    assert "finished after" in out
    more = ["--set", "training.environment_steps=1300", "--set", "training.evaluate_every_steps=100000"]
    assert cli.run(["train", "--resume", "runs/one", "--replay", "records", *more]) == 0
    assert "8 views of recorded rounds (1,412 steps) go into the replay" in capsys.readouterr().out


def test_bad_records(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["train", *SMALL, "--run", "one", "--replay", "nowhere"]) == 10
    assert "there are no recorded rounds in nowhere" in capsys.readouterr().err
    damaged = sorted(records.glob("*.npz"))[0]
    damaged.write_bytes(b"PK")
    assert cli.run(["train", *SMALL, "--run", "one", "--replay", "records"]) == 10
    assert damaged.name in capsys.readouterr().err
    assert not Path("runs").exists()

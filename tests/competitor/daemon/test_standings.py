"""`matches` over several players, servers and accounts: tables per opponent, filters, CSV."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import cli
from competitor.daemon.records import Records
from competitor.evaluate.statistics import elo_with_error
from tests.competitor.play.made_matches import NOON, numbered_match

PLAYED = [  # opponent, own, other, what else differs
    ("ada", 3, 1, {}),
    ("ada", 2, 2, {}),
    ("bob", 0, 4, {}),
    ("bob", 1, 0, {"ending": "opponent left"}),
    ("ada", 4, 0, {"account": "second"}),
    ("ada", 4, 0, {"server": "ws://other:80/play"}),
    (None, 1, 3, {"checkpoint": "runs/x", "digest": "cd" * 32}),
    ("=1+1", 3, 1, {"checkpoint": "search:runs/x", "digest": "cd" * 32}),
]
Facts = dict[str, Any]


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with Records(Path("records")) as opened:
        for number, (opponent, own, other, more) in enumerate(PLAYED):
            score = {"opponent": opponent, "own": own, "other": other, "account": "first"}
            opened.keep(numbered_match(number, **score | more), lambda: None)
    return Path("records")


def listed(*options: str) -> Facts:
    assert cli.run(["matches", *options, "--json", "m.json"]) == 0
    facts: Facts = json.loads(Path("m.json").read_text())
    return facts


def test_each_player_server_and_account_has_its_own_table(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = listed("--opponents")
    out = capsys.readouterr().out
    assert max(map(len, out.split("A drawn match")[0].splitlines())) <= 80
    stands = {(one["checkpoint"], one["server"], one["account"], one["opponent"]): one for one in facts["standings"]}
    assert len(stands) == 6
    ada = stands["champion", "comprl://127.0.0.1:65335", "first", "ada"]
    assert (ada["wins"], ada["draws"], ada["losses"], ada["points"], ada["own"], ada["other"]) == (1, 1, 0, 1.5, 5, 3)
    assert [ada["elo"], ada["elo_error95"]] == list(elo_with_error([0, 0, 1, 0, 1]))
    bob = stands["champion", "comprl://127.0.0.1:65335", "first", "bob"]
    assert (bob["matches"], bob["unfinished"], bob["own"], bob["other"]) == (1, 1, 0, 4)
    lines = [line.split() for line in out.splitlines()]
    assert ["ada", "2", "1.5", "(75.0", "%)", "1/1/0", "5:3", "+191", "±", "301"] in lines
    assert ["all", "3", "1.5", "(50.0", "%)", "1/1/1", "5:7", "1", "+0", "±", "272"] in lines
    assert "champion (abababababab) on ws://other:80/play, account first" in out


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--opponent", "bob"], {2, 3}),
        (["--opponent", "?da", "--account", "first"], {0, 1, 5}),
        (["--server", "ws://*"], {5}),
        (["--checkpoint", "runs/*"], {6, 7}),
        (["--checkpoint", "cdcd"], {6, 7}),
        (["--account", "nobody"], set()),
        (["--opponent", "' OR TRUE --"], set()),
        (["--checkpoint", "\udcff"], set()),  # what Python makes of bytes that are no text
    ],
)
def test_filters(records: Path, options: list[str], numbers: set[int], capsys: pytest.CaptureFixture[str]) -> None:
    facts = listed(*options)
    assert {int(one["match_id"].removeprefix("match-")) for one in facts["matches"]} == numbers
    results = [one["result"] for one in facts["matches"]]
    assert facts["summary"]["wins"] == results.count("W")  # the running tally is theirs alone
    assert sum(one["matches"] + one["unfinished"] for one in facts["standings"]) == len(numbers)
    if not numbers:
        assert "no matches" in capsys.readouterr().out


def test_since(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(listed("--since", "2026-11-22")["matches"]) == len(PLAYED)
    assert listed("--since", "2026-11-25")["matches"] == []


def test_csv_has_a_line_per_match_and_nothing_to_calculate(records: Path) -> None:
    assert cli.run(["matches", "--last", "3", "--csv", "m.csv"]) == 0
    with Path("m.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["opponent"] for line in lines] == ["ada", "", "'=1+1"]
    assert [line["account"] for line in lines] == ["first"] * 3
    assert float(lines[0]["ended_at"]) == NOON + 300.0 and lines[0]["ended"].startswith("2026-11-23T")
    assert [type(json.loads(lines[0][name])) for name in ("rounds", "answers")] == [list, dict]

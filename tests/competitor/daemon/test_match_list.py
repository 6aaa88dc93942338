"""The table of matches: its columns fit, its numbers are right, and a server's names cannot spoil it."""

from __future__ import annotations

import json
from datetime import UTC
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from competitor.daemon.database import ListedMatch, MatchTally, RoundRow, round_rows, row_of
from competitor.daemon.match_list import matches_json, print_matches
from competitor.evaluate.statistics import wilson_interval
from competitor.play.outcomes import rounds_of
from tests.competitor.play.made_matches import recorded_match


def listed(tally: MatchTally, **changes: Any) -> ListedMatch:
    match = recorded_match(**changes)
    return ListedMatch(row_of(match, "file.npz", "1.0"), round_rows(rounds_of(match)), tally)


def printed(matches: list[ListedMatch], width: int = 100) -> list[str]:
    out = StringIO()
    console = Console(file=out, width=width, force_terminal=False)
    print_matches(matches, Path("records"), console=console, zone=UTC)
    return out.getvalue().splitlines()


def line_with(lines: list[str], word: str) -> str:
    (line,) = [line for line in lines if word in line]
    return line


LONG = [
    listed(MatchTally(1234, 567, 890), opponent="a name without end", own=10, other=12, rating=-0.5),
    listed(MatchTally(1235, 567, 890), opponent="bob", own=4, other=0, rating=25.0),
    listed(MatchTally(1235, 567, 890), opponent="left", own=2, other=0, ending="opponent left"),
    listed(MatchTally(1235, 567, 890), opponent="cut", ending="abandoned", reason="connection lost"),
]


def test_a_line_says_all_of_a_match() -> None:
    low, high = wilson_interval(1235, 2692)
    line = line_with(printed(LONG), "bob")
    assert line.split() == [
        *("11-23", "11:40", "bob", "4:0", "W", "1235/567/890", "45.9", "%", f"{100 * low:.0f}-{100 * high:.0f}"),
        *("25.00", "197", "3.0"),
    ]
    assert line_with(printed(LONG), "a name without…").split()[5:7] == ["10:12", "L"]


def test_unfinished_matches_have_no_result() -> None:
    lines = printed(LONG)
    assert line_with(lines, "2:0").split()[3:5] == ["2:0", "1235/567/890"]
    assert line_with(lines, "2:0").rstrip().endswith("left")
    cut = line_with(lines, " cut  ").split()
    assert cut[3:5] == ["-", "1235/567/890"] and cut[-1] == "cut"
    assert "2692 matches: 1235 won, 567 drawn, 890 lost; win rate 45.9 % (95 %: 44.0 to 47.8)" in lines


@pytest.mark.parametrize("width", [100, 300])
def test_at_most_100_columns_and_nothing_cut(width: int) -> None:
    lines = printed(LONG, width)
    assert max(map(len, lines)) <= 100
    assert line_with(lines, "win rate  ").split()[-4:] == ["steps", "p99", "ms", "end"]
    assert sum("…" in line for line in lines) == 1  # the long name


def test_wide_numbers_cost_a_column_not_a_digit() -> None:
    lines = printed([*LONG, listed(MatchTally(1, 0, 0), rating=-123456.789)])
    assert max(map(len, lines)) <= 100
    assert line_with(lines, "-123456.79") and "p99 ms" in line_with(lines, "win rate  ")
    assert not any("95 %  " in line for line in lines)


def test_narrow_screens_lose_columns_not_digits() -> None:
    lines = printed(LONG, 80)
    assert max(map(len, lines)) <= 80
    assert "1235/567/890" in line_with(lines, "bob") and "25.00" in line_with(lines, "bob")
    assert not any("95 %  " in line for line in lines)


def test_nothing_played_to_its_end() -> None:
    lines = printed([listed(MatchTally(), ending="abandoned")])
    assert "no match has been played to its end yet" in lines
    assert json.loads(matches_json([listed(MatchTally(), ending="abandoned")]))["summary"]["win_rate"] is None


def test_no_matches() -> None:
    assert printed([]) == ["no matches are recorded in records"]
    assert json.loads(matches_json([])) == {
        "summary": {"wins": 0, "draws": 0, "losses": 0, "matches": 0, "win_rate": None, "ci95": [0.0, 1.0]},
        "matches": [],
    }


def test_names_of_a_server_do_nothing() -> None:
    lines = printed([listed(MatchTally(1, 0, 0), opponent="\x1b[2J[red]x\r\n")])
    assert line_with(lines, "?[2J[red]x??")
    assert not any("\x1b" in line for line in lines)


def test_json_holds_everything() -> None:
    match = LONG[1]
    facts = json.loads(matches_json([match]))
    (one,) = facts["matches"]
    assert one["ended"] == "2026-11-23T11:40:20.500+00:00"
    assert one["answers"] == {"policy": 197}
    assert [RoundRow(**part) for part in one["rounds"]] == match.rounds
    assert {key: one[key] for key in ("opponent", "own", "other", "result")} == {
        "opponent": "bob", "own": 4, "other": 0, "result": "W",
    }  # fmt: skip
    assert one.keys() >= set(vars(match.row))
    assert facts["summary"]["matches"] == 2692

"""The table of matches: its columns fit, its numbers are right, and a server's names cannot spoil it."""

import json
from datetime import UTC
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from competitor.daemon.database import ListedMatch, MatchTally, RoundRow, row_of
from competitor.daemon.match_tables import matches_json, print_matches
from competitor.evaluate.statistics import wilson_interval
from competitor.play.outcomes import rounds_of
from tests.competitor.play.made_matches import recorded_match


def listed(tally: MatchTally, **changes: Any) -> ListedMatch:
    match = recorded_match(**changes)
    rounds = [RoundRow(number, one.steps, one.starter, one.result) for number, one in enumerate(rounds_of(match), 1)]
    return ListedMatch(row_of(match, "file.npz", "1.0"), rounds, tally)


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
        *("11-23", "11:40", "bob", "W", "4:0", "1235/567/890", "45.9", "%", f"{100 * low:.0f}-{100 * high:.0f}"),
        *("25.00", "197", "3.0"),
    ]
    assert line_with(printed(LONG), "a name without…").split()[5:7] == ["L", "10:12"]


def test_unfinished_matches_have_no_result() -> None:
    lines = printed(LONG)
    assert line_with(lines, "2:0").split()[2:6] == ["left", "left", "2:0", "1235/567/890"]
    assert line_with(lines, " cut  ").split()[2:6] == ["cut", "cut", "-", "1235/567/890"]
    assert "2692 matches: 1235 won, 567 drawn, 890 lost; win rate 45.9 % (95 %: 44.0 to 47.8)" in lines


def test_a_single_match_is_one_match() -> None:
    assert any(line.startswith("1 match: 1 won") for line in printed([listed(MatchTally(1))]))


@pytest.mark.parametrize("width", [120, 100])
def test_where_there_is_room_there_is_everything(width: int) -> None:
    lines = printed(LONG, width)
    assert max(map(len, lines)) <= width
    assert line_with(lines, "win rate  ").split()[-4:] == ["rating", "steps", "p99", "ms"]
    assert sum("…" in line for line in lines) == 1  # the long name


@pytest.mark.parametrize("width", [80, 60, 40])
def test_narrow_screens_lose_columns_or_stack_and_never_cut(width: int) -> None:
    lines = printed(LONG, width)
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines)
    assert shown.count("1235/567/890") == 3 and "25.00" in shown and "a name without…" in shown


def test_an_inferred_score_is_marked() -> None:
    lost = listed(MatchTally(), opponent="lost", ending="abandoned", own=3, other=0, inferred=True)
    assert "~3:0" in line_with(printed([lost]), "lost")
    (one,) = json.loads(matches_json([lost]))["matches"]
    assert (one["inferred"], one["own"], one["result"]) == (True, 3, None)


def test_damaged_rows_are_counted() -> None:
    out = StringIO()
    print_matches(LONG, Path("records"), damaged=2, console=Console(file=out, width=100), zone=UTC)
    assert "2 rows of the table in records are damaged and were left out" in out.getvalue()


def test_nothing_played_to_its_end() -> None:
    lines = printed([listed(MatchTally(), ending="abandoned")])
    assert "no match has been played to its end yet" in lines
    assert json.loads(matches_json([listed(MatchTally(), ending="abandoned")]))["summary"]["win_rate"] is None


def test_no_matches() -> None:
    assert printed([]) == ["no matches are recorded in records"]
    assert json.loads(matches_json([])) == {
        "summary": {"wins": 0, "draws": 0, "losses": 0, "matches": 0, "win_rate": None, "ci95": [0.0, 1.0]},
        "standings": [],
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

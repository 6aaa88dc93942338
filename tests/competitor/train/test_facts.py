"""trainer.json of a save: whatever value in it is damaged is named in one line, before anything is built from it."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from competitor.errors import ResumeError
from competitor.train.facts import Facts, read_facts

GENERATOR = {
    "bit_generator": "PCG64",
    "state": {"state": 2**128 - 1, "inc": 2**127 + 1},
    "has_uint32": 0,
    "uinteger": 2**32 - 1,
}
MEMBER = {"name": "step-000000300", "environment_steps": 300, "rating": -3.5, "wins": 1, "draws": 0, "losses": 2}
GOOD: dict[str, Any] = {
    "format": 1,
    "device": "cpu",
    "counters": {"environment_steps": 900, "credit": 0.25, "best_score": 0.5, "next_snapshot": 1200},
    "league": {"rating": 12.5, "opponents": [{"name": "weak", "environment_steps": 0}], "members": [MEMBER]},
    "matchmaker": {"turns": {"weak": 3}, "active": ["step-000000300"], "rounds_since_draw": 2, "generator": GENERATOR},
    "averages": {"sums": {"loss": 2.5}, "counts": {"loss": 3}},
    "past": ["step-000000300"],
    "rounds": [
        {"rink": 0, "one_starting": True, "seed": 7, "mode": "NORMAL", "side": 1, "opponent": "weak"},
        {"rink": 3, "one_starting": False, "seed": 8, "mode": "NORMAL", "seat": 0, "opponent": "step-000000300"},
    ],
}
DEEP = "[" * 100_000


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where anything stands in a JSON value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in entries:
        yield (*path, key)
        yield from places(part, (*path, key))


def damaged(path: tuple[Any, ...], text: str) -> str:
    """GOOD as JSON, with `text` at a place."""
    facts: Any = copy.deepcopy(GOOD)
    owner = facts
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = "HERE"
    return json.dumps(facts).replace('"HERE"', text)


def refused(file: Path) -> str:
    with pytest.raises(ResumeError) as caught:
        read_facts(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    file = tmp_path / "trainer.json"
    file.write_text(json.dumps(GOOD))
    facts = read_facts(file)
    assert facts.matchmaker.generator.model_dump() == GENERATOR
    assert (facts.counters.environment_steps, facts.counters.credit, facts.counters.best_score) == (900, 0.25, 0.5)
    assert (facts.league.members[0].losses, facts.league.members[0].win_rate) == (2, 0.5)
    assert [played.rink for played in facts.rounds] == [0, 3]


MAY_BE_NONE = {("counters", "best_score")}


@pytest.mark.parametrize("text", ["null", "true", "1e999", "-1e999", "NaN", "0.5e-3", DEEP, '{"a": [null]}', "[[[]]]"])
@pytest.mark.parametrize("path", list(places(GOOD)), ids=lambda path: ".".join(map(str, path)))
def test_no_value_of_another_kind_is_taken(path: tuple[Any, ...], text: str, tmp_path: Path) -> None:
    file = tmp_path / "trainer.json"
    file.write_text(damaged(path, text))
    is_fraction = isinstance(at(path), float) and text == "0.5e-3"
    is_truth = isinstance(at(path), bool) and text == "true"
    if is_fraction or is_truth or (text == "null" and path in MAY_BE_NONE):
        assert isinstance(read_facts(file), Facts)
    else:
        refused(file)


def at(path: tuple[Any, ...]) -> Any:
    value: Any = GOOD
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (("counters", "environment_steps"), "-1", "counters.environment_steps: Input should be greater"),
        (("counters", "rounds"), "9" * 30, "counters.rounds: "),
        (("counters", "credit"), "-0.5", "counters.credit: Input should be greater"),
        (("counters", "seconds"), '"1"', "counters.seconds: "),
        (("league", "members", 0, "win_rate"), "1.5", "league.members.0.win_rate: "),
        (("league", "members", 0, "losses"), "-2", "league.members.0.losses: "),
        (("matchmaker", "generator", "bit_generator"), '"MT19937"', "matchmaker.generator.bit_generator: "),
        (("matchmaker", "generator", "state", "inc"), str(2**128), "matchmaker.generator.state.inc: "),
        (("matchmaker", "generator", "uinteger"), "-1", "matchmaker.generator.uinteger: "),
        (("matchmaker", "active"), '["step-9"]', "an active past self is not among those of the past"),
        (("counters",), "{}", "a member of the league is newer than the save"),
        (("averages", "counts"), "{}", "sums and counts are not of the same numbers"),
        (("averages", "counts", "loss"), "0", "averages.counts.loss: "),
        (("rounds", 0, "rink"), "3", "two rounds are played on one rink"),
        (("rounds", 0, "side"), "2", "rounds.0.side: "),
        (("rounds", 0, "mode"), '"CHESS"', "rounds.0.mode: "),
        (("format",), "2", "is of format 2, not 1"),
        (("format",), "9" * 400, "is "),
    ],
)
def test_values_out_of_range_are_named(path: tuple[Any, ...], text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "trainer.json"
    file.write_text(damaged(path, text))
    assert words in refused(file)


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b'"text"', b"1e999", DEEP.encode()])
def test_what_is_no_save_at_all(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "trainer.json"
    file.write_bytes(content)
    refused(file)
    file.unlink()
    refused(file)

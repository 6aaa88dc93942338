"""docs/python.md does what it says: its snippets run one after the other, as a reader would paste them."""

import re
from pathlib import Path
from typing import Any

import pytest

import cli
from competitor.play.match_file import file_name, match_bytes
from competitor.play.outcomes import rounds_of
from tests.competitor.play.made_matches import recorded_match

PAGE = Path(cli.__file__).parent / "docs" / "python.md"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with the records of one match."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "records"
    folder.mkdir()
    match = recorded_match(opponent="ada")
    (folder / file_name(match)).write_bytes(match_bytes(match, rounds_of(match), "test"))
    return folder


def test_the_snippets_of_the_page_run(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snippets = SNIPPET.findall(PAGE.read_text())
    names: dict[str, Any] = {"__name__": "page"}
    said = []
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), names)
        said.append(capsys.readouterr().out)
    agent, rink, rounds, own, many, both, evolved, linear, result, recorded, match = said
    assert agent.splitlines()[0].endswith("18 4") and "(1, 4)" in agent
    assert int(rink.split()[0]) in (-1, 0, 1) and 0 < int(rink.split()[1]) <= 251
    assert len(rounds.splitlines()) == 8
    assert own.count(",") == 7
    rounds_played, _, won, _ = many.split()
    assert 16 <= int(rounds_played) <= 300 and int(won) > int(rounds_played) / 2  # the champion against strong
    assert "'player_1': True, 'player_2': True" in both
    assert [line.split()[0] for line in evolved.splitlines()] == [str(number) for number in range(8)]
    first, *_, last = [float(line.split()[1]) for line in evolved.splitlines()]
    assert last > first + 5  # it learns
    assert linear.count(",") == 7
    wins, draws, losses = map(int, result.split()[:3])
    assert wins + draws + losses == 8
    assert recorded.splitlines()[1] == "True" and len(recorded.splitlines()) == 4
    assert match.startswith("ada ")

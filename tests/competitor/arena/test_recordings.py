"""Recorded matches: nothing of a match is lost, other commands read the files, and they never fill the disk."""

import asyncio
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from competitor.arena.game import Game
from competitor.arena.lobby import Lobby
from competitor.arena.queries import MatchResult
from competitor.arena.recordings import DAY_S, MIB, MOST_WAITING, Recordings, seen_by_second
from competitor.arena.steps import RoundSteps, StepLog
from competitor.play.match_file import read_match, read_views
from competitor.play.recording import load_episodes
from competitor.play.rounds import RewardWeights
from competitor.rink.observation import other_view
from competitor.viewer.frames import match_rounds
from tests.competitor.arena.servers import FakeParticipant, MemoryStore
from tests.competitor.arena.test_game import play_lively

NOON = 1_750_000_000.0
WEIGHTS = RewardWeights(goal=10.0, closeness=0.5, touch=1.0, direction=10.0)


@pytest.fixture(scope="module")
def game() -> Game:
    played = Game(seed=11)
    play_lively(played)
    return played


def result(number: int, ended_at: float = NOON, ending: str = "played", left_by: str | None = None) -> MatchResult:
    return MatchResult(uuid.UUID(int=number), ("ada", "bob"), (0, 0), ending, left_by, ended_at - 9, ended_at)


def opened(folder: Path, mib: float = 100.0, days: float = 10.0, now: float = NOON) -> Recordings:
    return Recordings(folder, most_mib=mib, most_days=days, version="1.2.3", clock=lambda: now)


def written(folder: Path, game: Game, *results: MatchResult, **bounds: float) -> list[Path]:
    """What lies in the folder when these were kept."""
    recordings = opened(folder, **bounds)
    for one in results:
        recordings.keep(replace(one, scores=game.scores), game.log, game.rounds)
    recordings.close()
    return sorted(folder.iterdir())


def test_a_match_is_kept_as_it_was_and_can_be_watched_and_learned_from(tmp_path: Path) -> None:
    async def play() -> None:
        lobby = Lobby(MemoryStore(), random=Random(3), rounds=2, tick_s=0.001, keep=keep)
        players = [FakeParticipant("ada"), FakeParticipant("bob")]
        for one in players:
            lobby.enter(one)
        ticking = asyncio.create_task(lobby.run())
        await asyncio.gather(*(one.ended.wait() for one in players))
        ticking.cancel()
        await lobby.close()

    def keep(result: MatchResult, steps: StepLog, rounds: int) -> None:
        kept.append((result, steps))
        recordings.keep(result, steps, rounds)

    kept: list[tuple[MatchResult, StepLog]] = []
    recordings = opened(tmp_path)
    asyncio.run(play())
    recordings.close()
    ((one, steps),) = kept
    path = recordings.find(one.match_id)
    assert path is not None
    match, about = read_match(path)
    logged = [steps.round(number) for number in range(2)]
    assert np.array_equal(match.obs, np.concatenate([each.views[:-1] for each in logged]))
    both = np.stack([match.actions, match.opponent_actions], axis=1)  # type: ignore[list-item]
    assert np.array_equal(both, np.concatenate([each.actions for each in logged]))
    assert (match.connection, match.opponent, match.own, match.other) == (*one.users, *one.scores)
    assert (match.ending, match.rounds, match.match_id) == ("played", 2, str(one.match_id))
    assert about.results == [each.winner for each in logged] == [each["winner"] for each in match_rounds(match)]
    episodes = list(load_episodes(tmp_path, WEIGHTS))
    assert [len(each.action) for each in episodes] == [len(each.actions) for each in logged]


@pytest.mark.parametrize("left_by", [None, "ada", "bob"])
def test_the_second_player_has_the_match_from_the_own_side(left_by: str | None, tmp_path: Path) -> None:
    """What a daemon of that player would have kept; also the last views, though nobody was sent them."""
    game, one = Game(seed=11), result(1, left_by=left_by, ending="timeout" if left_by else "played")
    seen, _ = play_lively(game)
    (path,) = written(tmp_path / "first", game, one)
    (tmp_path / "second.npz").write_bytes(seen_by_second(path, replace(one, scores=game.scores), "1.2.3"))
    (first, _), (second, about) = read_match(path), read_match(tmp_path / "second.npz")
    assert np.array_equal(second.obs, seen[:, 1]) and (second.connection, second.opponent) == ("bob", "ada")
    assert np.array_equal(second.actions, np.asarray(first.opponent_actions))
    assert np.array_equal(first.actions, np.asarray(second.opponent_actions))
    assert (second.own, second.other) == (first.other, first.own) == game.scores[::-1]
    assert second.ending == {None: "played", "ada": "opponent left", "bob": "abandoned"}[left_by]
    logged = [game.log.round(number) for number in range(4)]
    assert about.results == [-each.winner for each in logged if each.winner is not None]
    ends = [view.obs[-1] for view in read_views(tmp_path / "second.npz")]
    np.testing.assert_allclose(ends, [other_view(each.views[-1]) for each in logged], atol=1e-3)


def test_the_last_view_and_the_winner_of_each_round_are_those_of_the_rink(tmp_path: Path, game: Game) -> None:
    written(tmp_path, game, result(1))
    ends = [episode.obs[-1] for episode in load_episodes(tmp_path, WEIGHTS)]
    logged = [game.log.round(number) for number in range(4)]
    assert np.array_equal(ends, [each.views[-1] for each in logged])
    shown = match_rounds(read_match(next(tmp_path.iterdir()))[0])
    assert [(each["winner"], tuple(each["score"])) for each in shown] == [(each.winner, each.score) for each in logged]


@pytest.mark.parametrize(
    ("ending", "left_by", "kept"),
    [("timeout", "bob", ("opponent left", "timeout")), ("timeout", "ada", ("abandoned", "timeout")),
     ("arena closed", None, ("abandoned", "arena closed"))],
)  # fmt: skip
def test_a_match_that_was_broken_off(ending: str, left_by: str | None, kept: tuple[str, str], tmp_path: Path) -> None:
    game = Game(seed=1)
    for _ in range(260):  # a few steps into the second round
        game.step((0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0))
    (path,) = written(tmp_path, game, result(1, ending=ending, left_by=left_by))
    match, about = read_match(path)
    assert (match.ending, match.reason) == kept and len(match.obs) == 260
    assert about.results == [0, None]


def test_a_match_without_a_step_is_not_kept(tmp_path: Path) -> None:
    assert written(tmp_path, Game(seed=1), result(1)) == []


def test_the_oldest_are_deleted_by_size_and_by_age_and_nothing_of_others(tmp_path: Path, game: Game) -> None:
    foreign = [tmp_path / "notes.txt", tmp_path / "20250615T150640Z-mine.npz"]
    for file in foreign:
        file.write_bytes(bytes(MIB))
    (size,) = {path.stat().st_size for path in written(tmp_path, game, result(1)) if path not in foreign}
    week = [result(day, NOON + day * DAY_S) for day in (2, 3, 4)]
    left = written(tmp_path, game, *week, mib=2.5 * size / MIB, now=NOON + 4 * DAY_S)
    assert set(foreign) < set(left) and len(left) == 4
    recordings = opened(tmp_path, days=0.5, now=NOON + 4 * DAY_S)
    recordings.close()
    found = [recordings.find(uuid.UUID(int=number)) for number in range(5)]
    assert [path is not None for path in found] == [False] * 4 + [True]
    assert found[4] is not None and set(tmp_path.iterdir()) == {*foreign, found[4]}


def test_what_a_killed_arena_left_half_written_is_deleted(tmp_path: Path, game: Game) -> None:
    (path,) = written(tmp_path, game, result(1))
    path.rename(tmp_path / f".{path.name}.123.tmp")
    assert written(tmp_path, game) == []


@pytest.fixture
def small_files() -> Iterator[None]:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_refuses_is_said(
    tmp_path: Path, game: Game, small_files: None, caplog: pytest.LogCaptureFixture
) -> None:
    assert written(tmp_path, game, result(1)) == []
    assert "a match is not recorded: " in caplog.text


def test_what_waits_for_a_slow_disk_is_bounded(tmp_path: Path, game: Game, caplog: pytest.LogCaptureFixture) -> None:
    may_go_on = threading.Event()

    class Slow(StepLog):
        steps = 1

        def round(self, number: int, skip: int = 0) -> RoundSteps:
            assert may_go_on.wait(20)
            return game.log.round(number, skip)

        rounds = 1

    recordings, slow = opened(tmp_path), Slow()
    for number in range(MOST_WAITING + 3):
        recordings.keep(result(number), slow, 1)
    may_go_on.set()
    recordings.close()
    assert len(list(tmp_path.iterdir())) == MOST_WAITING
    assert caplog.text.count("too many matches wait to be recorded") == 3

"""One file per match: nothing of it is lost, its rounds can be learned from, and a bad file is explained."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
from competitor.config import Config
from competitor.errors import RecordingError
from competitor.play.finished_match import FinishedMatch
from competitor.play.match_file import EPISODES, View, file_name, is_match_file, match_bytes, read_match, read_views
from competitor.play.outcomes import rounds_of
from competitor.play.recording import load_episodes, load_recording, record_round
from competitor.play.rounds import RewardWeights, Round, RoundSetup, play_rounds
from competitor.play.sizes import mirror
from competitor.players import BasicPlayer
from dreamer.replay import Episode, EpisodeBuffer
from tests.competitor.play.made_matches import NOON, finished, recorded_match, rewrite

WEIGHTS = RewardWeights(goal=10.0, closeness=0.5, touch=1.0, direction=10.0)


def write(directory: Path, match: FinishedMatch) -> Path:
    path = directory / file_name(match)
    path.write_bytes(match_bytes(match, rounds_of(match), "1.2.3"))
    return path


@pytest.fixture(scope="module")
def local_rounds() -> list[Round]:
    strong, weak = BasicPlayer(weak=False, keep_mode=True), BasicPlayer(weak=True, keep_mode=True)
    setups = [RoundSetup(one_starting=number % 2 == 0, seed=number) for number in range(12)]
    return play_rounds(strong, weak, setups, rinks=12)


def as_match(rounds: list[Round], view: int, **changes: Any) -> FinishedMatch:
    """What a client would have seen of these rounds: all observations but the last of each."""
    obs = np.concatenate([played.obs[view, :-1] for played in rounds])
    actions = np.concatenate([played.actions[view] for played in rounds])
    firsts = np.cumsum([0, *(played.steps for played in rounds[:-1])]).tolist()
    winners = [played.winner if view == 0 else -played.winner for played in rounds]
    return finished(obs, actions, firsts, **{"own": winners.count(1), "other": winners.count(-1)} | changes)


def same(one: FinishedMatch, two: FinishedMatch) -> bool:
    for field in fields(FinishedMatch):
        mine, yours = getattr(one, field.name), getattr(two, field.name)
        if isinstance(mine, np.ndarray):
            if mine.dtype != yours.dtype or mine.tobytes() != yours.tobytes() or mine.shape != yours.shape:
                return False
        elif mine != yours:
            return False
    return True


def test_nothing_of_a_match_is_lost(tmp_path: Path) -> None:
    match = recorded_match("m005", "p2", opponent="Ünï\n☃", rating=25.5, reason="x" * 300, connection="")
    match.obs[5, 3], match.obs[6, 0], match.obs[7, 1] = np.nan, -0.0, np.inf
    match.actions[3] = (-0.0, 0.1, 1.0, -1.0)
    match.source[5] = 1
    match = replace(match, opponent_actions=match.actions[::-1].copy())
    read, about = read_match(write(tmp_path, match))
    assert same(read, match)
    assert (about.code_version, about.kind) == ("1.2.3", "match")
    assert about.results == [played.result for played in rounds_of(match)]


def test_actions_of_the_opponent_fit_the_steps(tmp_path: Path) -> None:
    path = write(tmp_path, recorded_match())
    rewrite(path, opponent_sent=np.zeros((3, 4)))
    with pytest.raises(RecordingError, match="opponent_sent is float64"):
        read_match(path)


@settings(deadline=None, max_examples=25)
@given(st.data(), st.integers(0, 12))
def test_any_match_is_read_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, steps: int) -> None:
    numbers = st.floats(allow_nan=True, allow_infinity=True)
    obs = np.array(data.draw(st.lists(st.lists(numbers, min_size=18, max_size=18), min_size=steps, max_size=steps)))
    match = finished(obs.reshape(-1, 18), np.ones((steps, 4)), [0] if steps else [], ending="abandoned")
    path = write(tmp_path_factory.mktemp("any"), match)
    assert same(read_match(path)[0], match)
    assert all(np.isfinite(view.obs).all() for view in read_views(path))


def test_arrays_are_those_of_the_replay(tmp_path: Path, debug_config: Config) -> None:
    path = write(tmp_path, recorded_match())
    buffer = EpisodeBuffer(debug_config.replay, 18, 4, mirror=None, seed=0)
    for view in read_views(path):
        buffer.add(Episode(view.obs, view.action, WEIGHTS.rewards(view.info), view.terminal))
    buffer.save(tmp_path / "replay")
    from safetensors.numpy import load_file

    saved = load_file(tmp_path / "replay" / "replay.safetensors")
    with np.load(path) as file:
        assert set(EPISODES) - {"info"} == saved.keys() - {"reward", "lesson", "own"}  # of nobody here
        for name in set(EPISODES) - {"info"}:
            assert file[name].dtype == saved[name].dtype and np.array_equal(file[name], saved[name])


@pytest.mark.parametrize("view", [0, 1])
def test_rounds_are_the_episodes_of_local_play(tmp_path: Path, local_rounds: list[Round], view: int) -> None:
    write(tmp_path, as_match(local_rounds, view))
    episodes = list(load_episodes(tmp_path, WEIGHTS))
    assert len(episodes) == len(local_rounds)
    for episode, played in zip(episodes, local_rounds, strict=True):
        truth = played.episode(view, WEIGHTS)
        assert np.array_equal(episode.obs[:-1], truth.obs[:-1])
        assert np.array_equal(episode.action, truth.action)
        assert episode.terminal == truth.terminal
        assert np.allclose(episode.reward[:-1], truth.reward[:-1], rtol=1e-5, atol=1e-6)
        # The last observation was not seen: it is what the rink says.
        assert np.allclose(episode.obs[-1, :3], truth.obs[-1, :3], atol=0.01)
        assert np.allclose(episode.reward[-1], truth.reward[-1], atol=0.01)
    assert {played.winner for played in local_rounds} >= {0, 1}  # draws too are results


def test_files_of_both_kinds_side_by_side(tmp_path: Path, local_rounds: list[Round]) -> None:
    match = write(tmp_path, as_match(local_rounds[:2], 0))
    played = record_round(tmp_path, local_rounds[2], number=0, player="me", engine="builtin", keep_mode=True)
    assert (is_match_file(match), is_match_file(played)) == (True, False)
    lengths = [len(episode.action) for episode in load_episodes(tmp_path, WEIGHTS)]
    assert lengths == [one.steps for one in (*local_rounds[:2], local_rounds[2], local_rounds[2])]
    with pytest.raises(RecordingError, match="it cannot be played again"):
        load_recording(match)
    with pytest.raises(RecordingError, match="not a recorded round"):
        read_match(played)


def views_of(directory: Path, match: FinishedMatch) -> list[View]:
    return list(read_views(write(directory, match)))


def test_a_broken_observation_ends_its_episode(tmp_path: Path) -> None:
    match = recorded_match("m007")  # rounds of 56, 39, 35 and 67 steps
    match.obs[60, 7] = np.nan
    match.obs[95, 2] = np.inf
    match.obs[131, 12] = 1e20
    views = views_of(tmp_path, match)
    # Of the third round nothing is left, of the fourth a single observation.
    assert [len(view.action) for view in views] == [56, 3]
    assert [view.terminal for view in views] == [True, False]
    assert views[1].info[:, 3].tolist() == [0.0] * 3


def test_a_round_cut_short_has_no_goal(tmp_path: Path) -> None:
    whole = recorded_match("m007")
    match = finished(whole.obs[:60], whole.actions[:60], [0, 56], ending="opponent left", own=1, other=0)
    views = views_of(tmp_path, match)
    assert [(len(view.action), view.terminal) for view in views] == [(56, True), (3, False)]
    assert views[0].info[-1, 3] == 1.0
    assert np.array_equal(views[1].obs, whole.obs[56:60].astype(np.float32))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_replay_never_refuses(
    tmp_path_factory: pytest.TempPathFactory, debug_config: Config, data: st.DataObject
) -> None:
    match = recorded_match("m007", ending=data.draw(st.sampled_from(["played", "opponent left", "abandoned"])))
    for _ in range(data.draw(st.integers(0, 5))):
        row, column = data.draw(st.integers(0, len(match.obs) - 1)), data.draw(st.integers(0, 17))
        match.obs[row, column] = data.draw(st.floats())
    directory = tmp_path_factory.mktemp("any")
    write(directory, match)
    buffer = EpisodeBuffer(debug_config.replay, 18, 4, mirror=mirror(debug_config), seed=0)
    for episode in load_episodes(directory, WEIGHTS):
        buffer.add(episode)
    assert len(buffer) <= len(match.obs)


def test_names_sort_by_time_and_tell_matches_apart() -> None:
    match = recorded_match()
    name = file_name(match)
    assert name.startswith("20261123T1140")
    assert name == file_name(recorded_match())
    assert file_name(replace(match, ended_at=NOON + 3_600)) > name
    others = [recorded_match("m007", "p2"), replace(match, connection="connection 2")]
    assert len({name, *map(file_name, others)}) == 3


@pytest.mark.parametrize("match_id", ["", "../../etc/passwd", "a\0b", "x" * 10_000, "\ud800", "-", "äöü", "CON.npz"])
def test_names_are_plain(tmp_path: Path, match_id: str) -> None:
    name = file_name(replace(recorded_match(), match_id=match_id))
    assert len(name) < 90 and name.isascii() and not set(name) & set("/\\\0 ")
    (tmp_path / name).touch()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"about_format_version": 2}, "has format 2, this version reads 1"),
        ({"about_ending": "rained off"}, "not understood"),
        ({"about_surprise": 1}, "not understood"),
        ({"about_own": "many"}, "not understood"),
        ({"about_own": -1}, "not understood"),
        ({"about_ended_at": 1e30}, "not understood"),
        ({"about_rating": "NaN"}, "not understood"),
        ({"about_results": {"1": 1}}, "not understood"),
        ({"received": np.full((197, 18), "x")}, "received is"),
        ({"received": np.zeros((7, 18))}, "sent is"),
        ({"received": np.zeros((197, 18), np.float32)}, "received is"),
        ({"source": np.zeros((197, 2), np.uint8)}, "source is"),
        ({"obs": np.zeros((7, 18), np.float32)}, "obs is"),
        ({"steps": np.array([-1, 198])}, "a round without steps"),
        ({"steps": np.array([[197]])}, "steps is"),
        ({"info": np.full((197, 4), np.nan)}, "not finite"),
        ({"terminal": np.zeros(3, bool)}, "terminal is"),
        ({"sent": np.array([{"a": 1}], dtype=object)}, "not a recorded round"),
        ({"about": np.array("[" * 60_000)}, "not understood"),
        ({"about": np.array('{"a":' * 60_000)}, "not understood"),
        ({"about": np.array("3")}, "not understood"),
        ({"obs": np.array("text")}, "obs is <U4"),
        ({"received": np.zeros(2**26)}, "not a recorded round"),
    ],
)
def test_contents_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    path = write(tmp_path, recorded_match())
    rewrite(path, **changes)
    with pytest.raises(RecordingError, match=sentence):
        read_match(path)
        list(read_views(path))


def test_a_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    match = recorded_match(connection="comprl-2")
    path = write(tmp_path, match)
    with np.load(path) as file:
        arrays = dict(file)
    about = json.loads(str(arrays["about"]))
    about["link"] = about.pop("connection")
    del about["inferred"]
    arrays["about"] = np.array(json.dumps(about))
    with path.open("wb") as opened:
        np.savez(opened, **arrays)
    assert same(read_match(path)[0], match)


def test_missing_file(tmp_path: Path) -> None:
    for read in (read_match, is_match_file, lambda path: list(read_views(path))):
        with pytest.raises(RecordingError, match="there is no recorded round"):
            read(tmp_path / "absent.npz")


def test_no_torch_is_loaded() -> None:
    code = "import sys, competitor.daemon.records, competitor.daemon.match_tables; sys.exit('torch' in sys.modules)"
    root = Path(cli.__file__).parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60).returncode == 0

"""Recorded rounds: what a file keeps, that it replays bit for bit, and that a bad file is explained."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from competitor.errors import EngineError, RecordingError
from competitor.play.recording import (
    load_episodes,
    load_recording,
    play_back,
    record_round,
    recordings_in,
    verify_recording,
)
from competitor.play.rounds import RewardWeights, Round, RoundSetup, play_rounds
from competitor.players import BasicPlayer
from competitor.rink import Mode
from tests.competitor.play.made_matches import rewrite

SHORT = RoundSetup(one_starting=False, seed=5, mode=Mode.TRAIN_DEFENSE, side=1)


def play(setup: RoundSetup, keep_mode: bool = True) -> Round:
    weak, strong = (BasicPlayer(weak=weak, keep_mode=keep_mode) for weak in (True, False))
    return play_rounds(weak, strong, [setup], rinks=1, keep_mode=keep_mode)[0]


def record(directory: Path, played: Round, number: int = 0, keep_mode: bool = True) -> Path:
    names = {"player": "weak", "engine": "builtin"}
    return record_round(directory, played, number=number, keep_mode=keep_mode, **names)


@pytest.fixture(scope="module")
def short_round() -> Round:
    return play(SHORT)


@pytest.fixture
def path(tmp_path: Path, short_round: Round) -> Path:
    return record(tmp_path, short_round)


def test_file_holds_the_round(path: Path, short_round: Round) -> None:
    recording = load_recording(path)
    assert recording.round.setup == short_round.setup
    for name in ("obs", "actions", "info"):
        original, loaded = getattr(short_round, name), getattr(recording.round, name)
        assert loaded.dtype == original.dtype and np.array_equal(loaded, original)
    about = recording.about
    assert (about.player, about.opponent, about.result) == ("weak", "strong", short_round.result)
    assert (about.steps, about.seed, about.mode, about.side) == (short_round.steps, 5, "TRAIN_DEFENSE", 1)
    assert not [name for name in os.listdir(path.parent) if name != path.name]


def test_a_file_of_version_0_1_said_seat_instead_of_side(path: Path) -> None:
    with np.load(path) as file:
        about = json.loads(str(file["about"]))
    rewrite(path, about=np.array(json.dumps({"seat" if key == "side" else key: about[key] for key in about})))
    assert load_recording(path).about.side == SHORT.side == 1 and verify_recording(path).identical


@pytest.mark.parametrize("keep_mode", [True, False])
@pytest.mark.parametrize("mode", list(Mode))
def test_recordings_replay_bit_for_bit(tmp_path: Path, mode: Mode, keep_mode: bool) -> None:
    for seed in range(3):
        played = play(RoundSetup(seed % 2 == 0, seed, mode, side=seed % 2), keep_mode)
        verified = verify_recording(record(tmp_path, played, seed, keep_mode))
        assert verified.identical and verified.steps == played.steps


def test_verification_says_where_it_differs(path: Path, short_round: Round) -> None:
    obs = short_round.obs.copy()
    obs[1, 3, 0] = np.nextafter(obs[1, 3, 0], np.float32(9))
    rewrite(path, obs=obs)
    verified = verify_recording(path)
    assert not verified.identical and verified.steps == 2
    assert verified.difference == f"step 3 of {short_round.steps}: the observations differ"


def test_verification_notices_other_starts_infos_and_ends(path: Path, short_round: Round) -> None:
    rewrite(path, about_seed=6)
    assert verify_recording(path).difference == "the start of the round differs"
    info = short_round.info.copy()
    info[0, 0, 0] -= 1e-12
    rewrite(path, about_seed=5, info=info)
    assert "step 1 " in verify_recording(path).difference and "infos" in verify_recording(path).difference
    cut = {name: getattr(short_round, name)[:, :-1] for name in ("obs", "actions", "info")}
    rewrite(path, about_steps=short_round.steps - 1, **cut)
    assert "ends at another step" in verify_recording(path).difference


def test_names_of_files_are_plain(tmp_path: Path, short_round: Round) -> None:
    path = record_round(tmp_path, short_round, number=7, player="../my mod:Class", engine="builtin", keep_mode=True)
    assert path.parent == tmp_path and path.name.startswith("my_mod_Class-strong-00007-")
    assert load_recording(path).about.player == "../my mod:Class"


def test_files_of_names_that_are_long_or_foreign_are_written_apart(tmp_path: Path, short_round: Round) -> None:
    opponents = ["runs/kämpfer", "runs/kümpfer", "/a" * 200, "/b/" + "/a" * 200, os.fsdecode(b"runs/\xff")]
    for opponent in opponents:
        played = replace(short_round, setup=replace(short_round.setup, opponent=opponent))
        record_round(tmp_path, played, number=7, player="p" * 250, engine="builtin", keep_mode=True)
    assert {load_recording(path).about.opponent for path in tmp_path.iterdir()} == {*opponents[:-1], "runs/?"}


def test_another_round_of_the_same_name_is_kept_beside_the_first(tmp_path: Path, short_round: Round) -> None:
    other = replace(short_round, setup=replace(short_round.setup, seed=6))
    paths = [record(tmp_path, played) for played in (short_round, other, short_round, other)]
    assert paths[:2] == paths[2:] and paths[1].stem == f"{paths[0].stem}-2"
    assert {load_recording(path).about.seed for path in tmp_path.iterdir()} == {5, 6}


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="there is no recorded round"):
        load_recording(tmp_path / "absent.npz")
    for name, content in (("text.npz", b"hello"), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RecordingError, match="not a recorded round, or it is damaged"):
            load_recording(tmp_path / name)
    np.savez(tmp_path / "other.npz", numbers=np.arange(3))
    with pytest.raises(RecordingError, match="not a recorded round"):
        load_recording(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"about_format_version": 2}, "has format 2, this version reads 1"),
        ({"about_mode": "OVERTIME"}, "not understood"),
        ({"about_surprise": 1}, "not understood"),
        ({"about_steps": 3}, "obs is"),
        ({"about_steps": "many"}, "not understood"),
        ({"about_seed": -1}, "not understood"),
        ({"info": np.full((2, 81, 4), np.nan)}, "damaged"),
        ({"about_steps": 10**30}, "obs is"),
        ({"obs": np.array("text")}, "obs is <U4"),
        ({"obs": np.full((2, 82, 18), "1.0")}, "obs is <U3"),
        ({"actions": np.zeros((2, 81, 4), np.int64)}, "actions is int64"),
        ({"about": np.array("[" * 60_000)}, "not understood"),
        ({"about": np.array('{"a":' * 60_000)}, "not understood"),
        ({"about": np.array("null")}, "not understood"),
        ({"about": np.arange(3)}, "not understood"),
        ({"obs": np.zeros(2**26)}, "not a recorded round"),
    ],
)
def test_contents_that_do_not_fit(path: Path, changes: dict[str, Any], sentence: str) -> None:
    rewrite(path, **changes)
    with pytest.raises(RecordingError, match=sentence):
        load_recording(path)


def test_unknown_engine(path: Path) -> None:
    with pytest.raises(EngineError):
        verify_recording(path, engine="ice")


def test_failed_write_leaves_nothing(tmp_path: Path, short_round: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        record(tmp_path, short_round)
    assert not list(tmp_path.iterdir())


def test_episodes_of_a_directory(tmp_path: Path, short_round: Round) -> None:
    for number in range(2):
        record(tmp_path, short_round, number)
    weights = RewardWeights(goal=10.0, touch=1.0)
    episodes = list(load_episodes(tmp_path, weights))
    assert len(episodes) == 4
    for view in (0, 1):
        expected = short_round.episode(view, weights)
        assert np.array_equal(episodes[view].obs, expected.obs)
        assert np.array_equal(episodes[view].reward, expected.reward)
        assert episodes[view].terminal == expected.terminal


def test_directory_without_recordings(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no recorded rounds in"):
        recordings_in(tmp_path)


def test_play_back_goes_through_the_round(path: Path, short_round: Round) -> None:
    seen = [rink.obs_agent_two() for rink in play_back(load_recording(path))]
    assert np.array_equal(np.float32(seen), short_round.obs[1])

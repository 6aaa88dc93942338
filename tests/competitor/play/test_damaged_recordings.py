"""Damaged recordings of both kinds: reading one gives what it holds, or one RecordingError, never anything else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from competitor.errors import RecordingError
from competitor.play.match_file import file_name, is_match_file, match_bytes, read_match, read_views
from competitor.play.outcomes import rounds_of
from competitor.play.recording import load_episodes, load_recording, record_round, verify_recording
from competitor.play.rounds import RewardWeights, RoundSetup, play_rounds
from competitor.players import BasicPlayer
from competitor.rink import Mode
from tests.competitor.play.made_matches import finished

SHORT = RoundSetup(one_starting=False, seed=5, mode=Mode.TRAIN_DEFENSE, side=1)
KINDS = ["round", "match"]
FEW = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings")


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole file of each kind; paths, since hypothesis would show the bytes themselves."""
    played = play_rounds(BasicPlayer(weak=True), BasicPlayer(weak=False), [SHORT], rinks=1)[0]
    place = tmp_path_factory.mktemp("whole")
    path = record_round(place, played, number=0, player="weak", engine="builtin", keep_mode=True)
    match = finished(np.zeros((3, 18)), np.zeros((3, 4)), [0], own=1)

    whole = place / file_name(match)
    whole.write_bytes(match_bytes(match, rounds_of(match), "0.3"))
    return {"round": path, "match": whole}


def read_everything(path: Path) -> bool:
    """Read a file in every way there is; returns whether all of it was understood."""

    def replays() -> None:
        if not is_match_file(path):
            verify_recording(path, "builtin")

    readers: list[Callable[[], object]] = [
        *(lambda: load_recording(path), lambda: read_match(path), lambda: list(read_views(path))),
        *(lambda: list(load_episodes(path.parent, RewardWeights())), replays),
    ]
    return all([is_understood(read) for read in readers][3:])


def is_understood(read: Callable[[], object]) -> bool:
    try:
        read()
    except RecordingError as error:
        assert "\n" not in str(error)
        return False
    return True


def unpacked(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as file:
        return dict(file)


def write(folder: Path, arrays: dict[str, Any]) -> Path:
    path = folder / "one.npz"
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_are_understood(kind: str, folder: Path, contents: dict[str, Path]) -> None:
    assert read_everything(write(folder, unpacked(contents[kind])))


PLACES = st.integers(0, 2**20)  # taken modulo what there is


def test_a_header_that_does_not_end(folder: Path, contents: dict[str, Path]) -> None:
    path = write(folder, unpacked(contents["round"]))
    path.write_bytes(path.read_bytes().replace(b", }", b", ("))
    with pytest.raises(RecordingError, match="is not a recorded round, or it is damaged"):
        load_recording(path)


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(
    changes=st.lists(st.tuples(PLACES, st.integers(0, 255)), min_size=1, max_size=4), kept=st.one_of(st.none(), PLACES)
)
def test_whatever_bytes_are_changed(
    kind: str, changes: list[tuple[int, int]], kept: int | None, folder: Path, contents: dict[str, Path]
) -> None:
    content = bytearray(contents[kind].read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    (folder / "one.npz").write_bytes(bytes(content if kept is None else content[: kept % len(content)]))
    read_everything(folder / "one.npz")


NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([2**63, -1, 10**400, 1e308]))
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), NUMBERS, st.text(max_size=5), st.sampled_from(["\ud800", "[/bold]", "\x1b[2J"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(changes=st.lists(st.tuples(PLACES, VALUES), min_size=1, max_size=2))
def test_whatever_a_description_says(
    kind: str, changes: list[tuple[int, Any]], folder: Path, contents: dict[str, Path]
) -> None:
    arrays = unpacked(contents[kind])
    about = json.loads(str(arrays["about"]))
    for place, value in changes:
        about[sorted(about)[place % len(about)]] = value
    read_everything(write(folder, arrays | {"about": np.array(json.dumps(about))}))


ARRAYS = st.one_of(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_, np.complex64, "U3", "S2", "M8[s]"]).flatmap(
        lambda kind: st.lists(st.integers(0, 4), max_size=3).map(lambda shape: np.zeros(shape, kind))
    ),
    st.lists(st.sampled_from([2**63 - 1, 1, -1, 2, 3, 0]), max_size=4).map(lambda numbers: np.array(numbers, np.int64)),
)


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(changes=st.lists(st.tuples(PLACES, ARRAYS), min_size=1, max_size=2))
def test_whatever_arrays_it_holds(
    kind: str, changes: list[tuple[int, NDArray[Any]]], folder: Path, contents: dict[str, Path]
) -> None:
    arrays: dict[str, Any] = unpacked(contents[kind])
    for place, array in changes:
        arrays[sorted(arrays)[place % len(arrays)]] = array
    read_everything(write(folder, arrays))


def test_steps_whose_sum_runs_over(folder: Path, contents: dict[str, Path]) -> None:
    arrays = unpacked(contents["match"])
    steps = int(arrays["steps"].sum())
    huge = np.array([2**63 - 1, 2**63 - 1, steps + 2], np.int64)  # modulo 2**64 their sum is right
    more = {"steps": huge, "obs": np.zeros((steps + 3, 18), np.float32), "terminal": np.zeros(3, bool)}
    with pytest.raises(RecordingError, match="damaged"):
        list(read_views(write(folder, arrays | more)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_takes_nothing_that_no_rink_can_have_sent(
    kind: str, folder: Path, contents: dict[str, Path]
) -> None:
    whole = unpacked(contents[kind])
    weights, actions = RewardWeights(closeness=1.0), "actions" if kind == "round" else "action"

    def changed(name: str, place: tuple[int, int], value: float) -> Path:
        array = whole[name].copy()
        array[(..., *place)] = value
        return write(folder, whole | {name: array})

    for name, place, value in (("obs", (1, 12), 1e30), ("info", (0, 0), 1e300), ("info", (-1, 3), 0.5)):
        with pytest.raises(RecordingError, match=r"one\.npz is damaged: .*no rink can have sent"):
            list(load_episodes(changed(name, place, value).parent, weights))
    (episode, *_) = load_episodes(changed(actions, (0, 1), -1e30).parent, weights)  # the rink clips them as well
    assert episode.action[0, 1] == -1.0 and np.isfinite(episode.reward).all()


def test_a_round_longer_than_the_clock_allows(folder: Path, contents: dict[str, Path]) -> None:
    whole = unpacked(contents["round"])
    about = json.loads(str(whole["about"])) | {"steps": 252}
    longer = {name: np.repeat(whole[name][:, :1], 253 if name == "obs" else 252, 1) for name in set(whole) - {"about"}}
    with pytest.raises(RecordingError, match="a round has 252 steps, the clock allows 251"):
        list(load_episodes(write(folder, longer | {"about": np.array(json.dumps(about))}).parent, RewardWeights()))

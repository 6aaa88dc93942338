"""Saves of a training, as a run and a sparring partner's run keep them: whole or not at all."""

from pathlib import Path

import pytest

from competitor.errors import ResumeError
from competitor.saves import Saves


@pytest.fixture
def saves(tmp_path: Path) -> Saves:
    return Saves(tmp_path / "saves")


def save(saves: Saves, text: str) -> None:
    with saves.new() as directory:
        (directory / "book").write_text(text)


def kept(saves: Saves) -> str:
    current = saves.current()
    assert current is not None
    return (current / "book").read_text()


def test_a_new_save_takes_the_place_of_the_one_before_and_of_what_a_kill_has_left(saves: Saves) -> None:
    assert saves.current() is None
    save(saves, "one")
    (saves.directory / "save-000002").mkdir()
    assert kept(saves) == "one"
    for text in ("two", "three"):
        save(saves, text)
    assert kept(saves) == "three"
    assert [path for path in saves.directory.glob("save-*")] == [saves.current()]


def test_without_its_pointer_nothing_is_begun_over_a_save(saves: Saves) -> None:
    (saves.directory / "save-000001").mkdir(parents=True)  # a kill within the first save
    assert saves.current() is None
    for text in ("one", "two"):
        save(saves, text)
    (saves.directory / "current").unlink()
    with pytest.raises(ResumeError, match="current is missing beside the saves"):
        save(saves, "three")
    assert (saves.directory / "save-000002" / "book").read_text() == "two"


def test_a_save_that_fails_in_the_middle_leaves_the_one_before(saves: Saves) -> None:
    save(saves, "one")
    with pytest.raises(OSError, match="full"), saves.new() as directory:
        (directory / "book").write_text("tw")
        raise OSError("full")
    assert kept(saves) == "one"
    with saves.new() as directory:
        assert not list(directory.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"7", "names 7, which is not there"),
        (b"save-000009\n", "save-000009"),
        (b"\xff\x00", "cannot be read"),
        *((damaged, "does not hold the name of a save") for damaged in (b"", b"../1", b"07", b"1" * 99)),
    ],
)
def test_a_damaged_pointer_is_one_line(saves: Saves, content: bytes, said: str) -> None:
    saves.directory.mkdir()
    (saves.directory / "current").write_bytes(content)
    with pytest.raises(ResumeError, match=said):
        saves.current()


def test_only_saves_of_its_own_are_removed(saves: Saves) -> None:
    foreign = {".ipynb_checkpoints", "1.bak", "01", "old"}
    for name in foreign:
        (saves.directory / name).mkdir(parents=True)
    for text in ("one", "two"):
        save(saves, text)
    assert {path.name for path in saves.directory.iterdir()} == {"save-000002", "current"} | foreign


def test_a_save_named_by_a_former_version_goes_on_and_is_followed_by_one_of_today(saves: Saves) -> None:
    former = saves.directory / "12"
    former.mkdir(parents=True)
    (saves.directory / "current").write_text("12")
    assert saves.current() == former
    save(saves, "today")
    assert kept(saves) == "today" and not former.exists()

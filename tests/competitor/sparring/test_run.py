"""The run's directory: whole saves, and what is said when it is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from competitor.errors import ResumeError
from competitor.sparring.recipes import load_recipe
from competitor.sparring.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "striker", load_recipe("striker"))


def test_a_run_knows_its_recipe_and_its_name(run: Run) -> None:
    opened = Run.open(run.path)
    assert (opened.recipe, opened.name) == (run.recipe, "striker")


def test_a_new_save_takes_the_place_of_the_old_one(run: Run) -> None:
    assert run.saves.current() is None
    for text in ("one", "two"):
        with run.saves.new() as save:
            (save / "book").write_text(text)
    current = run.saves.current()
    assert current is not None and (current / "book").read_text() == "two"
    assert [path for path in (run.path / "saves").iterdir() if path.is_dir()] == [current]


def test_a_save_that_fails_in_the_middle_leaves_the_one_before(run: Run) -> None:
    with run.saves.new() as save:
        (save / "book").write_text("one")
    with pytest.raises(OSError, match="full"), run.saves.new() as save:
        (save / "book").write_text("tw")
        raise OSError("full")
    current = run.saves.current()
    assert current is not None and (current / "book").read_text() == "one"
    with run.saves.new() as save:
        assert not list(save.iterdir())


def test_the_source_lies_beside_the_run_or_at_a_path_and_is_of_the_same_algorithm(run: Run, tmp_path: Path) -> None:
    with run.saves.new():
        pass
    assert run.source() is None
    for named in ("striker", str(run.path)):
        source = Run(tmp_path / "later", run.recipe.model_copy(update={"begins_from": named})).source()
        assert source is not None and source.path == run.path
    with pytest.raises(ResumeError, match="it is of SAC and not TD3"):
        Run(tmp_path / "later", run.recipe.model_copy(update={"begins_from": "striker", "algorithm": "TD3"})).source()


def test_mistakes_are_one_line(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="holds a run already: continue it with --resume"):
        Run.create(run.path, run.recipe)
    for begins_from, said in (("nobody", "which is no run"), ("striker", "which has no save")):
        later = Run(tmp_path / "later", run.recipe.model_copy(update={"begins_from": begins_from}))
        with pytest.raises(ResumeError, match=f"later begins with the weights of .*{begins_from}, {said}: train that"):
            later.source()
    with pytest.raises(ResumeError, match="is not a sparring partner's run"):
        Run.open(tmp_path / "nothing")
    (run.path / "saves").mkdir()
    for content, said in (
        (b"7", "names 7, which is not there"),
        (b"\xff\x00", "cannot be read"),
        *((damaged, "does not hold the name of a save") for damaged in (b"", b"../1", b"07", b"1" * 99)),
    ):
        (run.path / "saves" / "current").write_bytes(content)
        with pytest.raises(ResumeError, match=said):
            run.saves.current()


def test_only_saves_of_its_own_are_removed(run: Run) -> None:
    foreign = [run.path / "saves" / name for name in (".ipynb_checkpoints", "1.bak", "01", "old")]
    for folder in foreign:
        folder.mkdir(parents=True)
    for _ in range(2):
        with run.saves.new() as save:
            (save / "book").touch()
    own = {"save-000002", "current"}
    assert {path.name for path in (run.path / "saves").iterdir()} == own | {path.name for path in foreign}


def test_a_save_named_by_a_former_version_goes_on_and_is_followed_by_one_of_today(run: Run) -> None:
    former = run.path / "saves" / "12"
    former.mkdir(parents=True)
    (former.parent / "current").write_text("12")
    assert run.saves.current() == former
    with run.saves.new() as save:
        (save / "book").touch()
    assert run.saves.current() == save and not former.exists()

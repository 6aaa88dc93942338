"""The run's directory: whole saves, and what is said when it is none."""

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
    with pytest.raises(ResumeError, match="holds a run already: .*sparring train --resume"):
        Run.create(run.path, run.recipe)
    for begins_from, said in (("nobody", "which is no run"), ("striker", "which has no save")):
        later = Run(tmp_path / "later", run.recipe.model_copy(update={"begins_from": begins_from}))
        with pytest.raises(ResumeError, match=f"later begins with the weights of .*{begins_from}, {said}: train that"):
            later.source()
    with pytest.raises(ResumeError, match="is not a sparring partner's run"):
        Run.open(tmp_path / "nothing")

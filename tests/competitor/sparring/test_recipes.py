"""The table of recipes, and what users may change of it."""

from pathlib import Path

import pytest

from competitor.errors import ConfigError
from competitor.sparring.recipes import load_recipe, read_recipe, recipe_names

NAMES = recipe_names()
RECIPES = {name: load_recipe(name) for name in NAMES}


def test_there_are_twelve_of_all_algorithms_and_half_of_them_are_held_out() -> None:
    assert len(NAMES) == 12
    assert sum(recipe.held_out for recipe in RECIPES.values()) == 6
    assert {recipe.algorithm for recipe in RECIPES.values()} == {"SAC", "TQC", "TD3", "CrossQ", "PPO"}


def test_no_two_are_made_alike() -> None:
    assert len({recipe.seed for recipe in RECIPES.values()}) == 12
    assert len({recipe.model_copy(update={"seed": 0, "style": "-"}).to_toml() for recipe in RECIPES.values()}) == 12


@pytest.mark.parametrize("name", NAMES)
def test_who_a_recipe_names_exists_and_fits(name: str) -> None:
    recipe = RECIPES[name]
    if recipe.begins_from:
        assert RECIPES[recipe.begins_from].algorithm == recipe.algorithm
    for kind in recipe.shares:
        if kind.startswith("sparring:"):
            assert not RECIPES[kind.removeprefix("sparring:")].held_out
        else:
            assert kind in ("weak", "strong", "self", "pool", "champion")


def test_a_recipe_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    for recipe in RECIPES.values():
        (tmp_path / "recipe.toml").write_text(recipe.to_toml())
        assert read_recipe(tmp_path / "recipe.toml") == recipe


def test_a_recipe_from_before_hurry_costs_no_frame_anything(tmp_path: Path) -> None:
    text = "".join(line for line in RECIPES["keeper"].to_toml().splitlines(True) if not line.startswith("hurry"))
    (tmp_path / "recipe.toml").write_text(text)
    assert read_recipe(tmp_path / "recipe.toml").reward.hurry == 0.0


def test_single_changes_reach_into_the_tables() -> None:
    changes = ["discount=0.9", "reward.goal=5", "algorithm=TD3", 'opponents."sparring:striker"=0.5', "opponents.weak=0"]
    recipe = load_recipe("keeper", changes=changes)
    assert (recipe.discount, recipe.reward.goal, recipe.algorithm) == (0.9, 5.0, "TD3")
    assert recipe.shares == {"strong": 0.4, "pool": 0.4, "sparring:striker": 0.5}
    assert recipe.reward.conceded == RECIPES["keeper"].reward.conceded


def test_a_users_table_may_add_a_recipe(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[mine]\nstyle = "my own"\nalgorithm = "SAC"\nseed = 99\n')
    assert recipe_names(mine) == [*NAMES, "mine"]
    recipe = load_recipe("mine", mine)
    assert recipe.seed == 99 and recipe.reward == load_recipe("striker", changes=["reward.direction=0"]).reward


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("discount=2", "discount: .*less than 1"),
        ("seed=-1", "seed: "),
        ("rinks=100000000", "rinks: .*less than or equal to 4096"),
        (f"seed={'[' * 9000}", "expected key=value|seed: "),
        ("algorithm=DQN", "algorithm: "),
        ("colour=red", "colour: Extra inputs"),
        ("reward.gaol=1", "reward.gaol: Extra inputs"),
        ("reward.goal=nan", "reward.goal: .*finite"),
        ("opponents.weak=-1", "opponents.weak: .*greater than or equal to 0"),
        ("opponents.weak=nan", "opponents.weak: "),
        ("opponents={ weak = 0.0, strong = 0.0, pool = 1.0 }", "somebody beside the pool"),
        ("nonsense", "expected key=value"),
    ],
)
def test_a_wrong_change_is_one_line_that_names_it(change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_recipe("striker", changes=[change, *(["opponents.strong=0"] if "pool" in change else [])])
    assert "\n" not in str(caught.value)


def test_a_users_table_may_begin_with_a_byte_order_mark_and_may_not_be_nested_without_end(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_bytes(b'\xef\xbb\xbf[mine]\nstyle = "my own"\nalgorithm = "SAC"\nseed = 99\n')
    assert "mine" in recipe_names(mine)
    mine.write_text("a = " + "[" * 60_000)
    with pytest.raises(ConfigError, match="mine.toml is not valid TOML: it is nested too deeply"):
        recipe_names(mine)


def test_an_unknown_recipe_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recipe nobody; there are: veteran, striker"):
        load_recipe("nobody")
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_recipe("striker", tmp_path / "missing.toml")
    (tmp_path / "flat.toml").write_text("seed = 1")
    with pytest.raises(ConfigError, match="seed stands outside"):
        recipe_names(tmp_path / "flat.toml")

"""Recipes and partners as tables on the screen."""

from collections.abc import Mapping, Sequence

from competitor.players.sparring import PartnerCard
from competitor.screen import Table, print_line, print_table
from competitor.sparring.recipes import Recipe


def print_recipes(recipes: Mapping[str, Recipe]) -> None:
    """Print one line per recipe: what kind it is, whom it meets, what it is for."""
    rows = []
    for name, recipe in recipes.items():
        numbers = f"{recipe.discount:g}", str(recipe.repeat), f"{recipe.updates:,}"
        rows.append([name, recipe.algorithm, *numbers, "yes" if recipe.held_out else ""])
    columns = ["recipe", "algorithm", "discount", "repeat", "updates", "held out"]
    print_table(Table(columns, rows, texts=2))
    for name, recipe in recipes.items():
        shares = ", ".join(f"{kind} {share:g}" for kind, share in recipe.shares.items())
        print_line(f"{name}: {recipe.style} ({shares})")


def print_partners(cards: Sequence[PartnerCard]) -> None:
    if not cards:
        print_line("there are no sparring partners here: sparring train makes them, sparring export adds them")
        return
    print_table(_strength(cards))
    print_table(_style(cards))
    legend = (
        "Shots: median speed (units/s), angle to the rink's length (degrees), steps since the catch; "
        "x and y: mean place along (-5 own end, 0 middle) and spread across. Against weak and strong."
    )
    print_line(legend)


def _strength(cards: Sequence[PartnerCard]) -> Table:
    opponents = list(dict.fromkeys(name for card in cards for name in card.results))
    rows = []
    for card in cards:
        counts = [_counts(card.results.get(name)) for name in opponents]
        rows.append([card.name, *counts, "yes" if card.held_out else ""])
    return Table(["partner", *opponents, "held out"], rows, "won-drawn-lost")


def _counts(result: Mapping[str, float] | None) -> str:
    return "-" if result is None else "-".join(f"{result[key]:.0f}" for key in ("won", "drawn", "lost"))


def _style(cards: Sequence[PartnerCard]) -> Table:
    keys = {
        "shots": "shots", "speed": "shot_speed", "angle": "shot_angle", "steps": "steps_held", "holds %": "holds",
        "x": "x", "y": "y_spread", "draws %": "draws",
    }  # fmt: skip
    rows = [[card.name, *(_number(card.plays.get(key), title) for title, key in keys.items())] for card in cards]
    return Table(["partner", *keys], rows, "style")


def _number(value: float | None, title: str) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.0f}" if title.endswith("%") else f"{value:.1f}"

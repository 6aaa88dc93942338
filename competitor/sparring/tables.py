"""Recipes and partners as tables on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from competitor.evaluate.report import print_line, table_of
from competitor.players.sparring import PartnerCard
from competitor.sparring.recipes import Recipe


def print_recipes(recipes: Mapping[str, Recipe], console: Console | None = None) -> None:
    """Print one line per recipe: what kind it is, whom it meets, what it is for."""
    console = console or Console()
    table = table_of("", ["recipe", "algorithm", "discount", "repeat", "updates", "held out"])
    for name, recipe in recipes.items():
        numbers = f"{recipe.discount:g}", str(recipe.repeat), f"{recipe.updates:,}"
        table.add_row(name, recipe.algorithm, *numbers, "yes" if recipe.held_out else "")
    console.print(table)
    for name, recipe in recipes.items():
        shares = ", ".join(f"{kind} {share:g}" for kind, share in recipe.shares.items())
        print_line(console, f"{name}: {recipe.style} ({shares})")


def print_partners(cards: Sequence[PartnerCard], console: Console | None = None) -> None:
    """Print how good the partners are and how they play."""
    console = console or Console()
    if not cards:
        print_line(console, "there are no sparring partners here: sparring train makes them, sparring export adds them")
        return
    console.print(_strength(cards))
    console.print(_style(cards))
    print_line(console, "Shots: median speed (units/s), angle to the rink's length (degrees), steps since the catch;")
    print_line(console, "x and y: mean place along (-5 own end, 0 middle) and spread across. Against weak and strong.")


def _strength(cards: Sequence[PartnerCard]) -> object:
    opponents = list(dict.fromkeys(name for card in cards for name in card.results))
    table = table_of("won-drawn-lost", ["partner", *opponents, "held out"])
    for card in cards:
        counts = [_counts(card.results.get(name)) for name in opponents]
        table.add_row(card.name, *counts, "yes" if card.held_out else "")
    return table


def _counts(result: Mapping[str, float] | None) -> str:
    return "-" if result is None else "-".join(f"{result[key]:.0f}" for key in ("won", "drawn", "lost"))


def _style(cards: Sequence[PartnerCard]) -> object:
    keys = {
        "shots": "shots", "speed": "shot_speed", "angle": "shot_angle", "steps": "steps_held", "holds %": "holds",
        "x": "x", "y": "y_spread", "draws %": "draws",
    }  # fmt: skip
    table = table_of("style", ["partner", *keys])
    for card in cards:
        table.add_row(card.name, *(_number(card.plays.get(key), title) for title, key in keys.items()))
    return table


def _number(value: float | None, title: str) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.0f}" if title.endswith("%") else f"{value:.1f}"

"""Settings that earlier versions had: their files are still read, and what is no longer a choice is left out."""

from __future__ import annotations

from typing import Any

from competitor.errors import ConfigError

GONE: dict[str, tuple[str, ...]] = {"league": ("active_snapshots", "redraw_rounds", "pfsp", "pfsp_power")}
"""Keys by section that are constants now, with no effect on what a saved run holds."""
EVALUATION = {
    "rounds": (200, "give --rounds to `evaluate`"),
    "rinks": (128, "any number plays the same rounds"),
    "deterministic": (True, "give --sampled to `evaluate`"),
    "seed": (1, "give --seed to `evaluate`"),
}
"""The keys of the former section [evaluation]: what holds today, and what to do for another value."""
OPPONENTS = ("weak", "strong", "self", "past")
"""Their shares were settings of [league] each; now there is the table [league.opponents]."""


def modernise(values: dict[str, Any], source: str) -> None:
    """Change `values` (a table per section, from `source`) from what earlier versions wrote to what this one reads.

    Raises ConfigError for a value that only an earlier version can use. Settings that became constants of their
    sections are dropped there (dreamer.config.Section).
    """
    _check_evaluation(values.pop("evaluation", {}), source)
    for section, keys in GONE.items():
        table = values.get(section)
        if isinstance(table, dict):
            for key in keys:
                table.pop(key, None)
    league = values.get("league")
    if isinstance(league, dict):
        shares = {name: league.pop(name) for name in OPPONENTS if name in league}
        if shares:
            league["opponents"] = {**shares, **league.get("opponents", {})}


def _check_evaluation(table: object, source: str) -> None:
    """Raise ConfigError where [evaluation] says anything else than what `evaluate` does unasked."""
    for key, value in table.items() if isinstance(table, dict) else ():
        today, way = EVALUATION.get(key, (None, "leave it out"))
        if value != today:
            raise ConfigError(f"{source}: evaluation.{key} was a setting until version 0.3 and is gone: {way}")

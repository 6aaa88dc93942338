"""Settings that earlier versions had: their files are still read, and what is no longer a choice is left out."""

from __future__ import annotations

from typing import Any

GONE: dict[str, tuple[str, ...]] = {"league": ("active_snapshots", "redraw_rounds", "pfsp", "pfsp_power")}
"""Keys by section that are constants now, with no effect on what a saved run holds."""
OPPONENTS = ("weak", "strong", "self", "past")
"""Their shares were settings of [league] each; now there is the table [league.opponents]."""


def modernise(values: dict[str, Any]) -> None:
    """Change `values` (a table per section) from what earlier versions wrote to what this one reads."""
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

"""Settings that earlier versions had: their files are still read, and what is no longer a choice is left out."""

from typing import Any

from competitor.config.models import ArenaConfig, CompeteConfig, TrainingConfig
from dreamer.former import FORMER, drop_former, name_kind

WITHOUT_EFFECT = {"run": ("precision",), "league": ("active_snapshots", "redraw_rounds", "pfsp", "pfsp_power")}
"""Keys by section that are constants now, with no effect on what a saved run holds."""
CONSTANTS = {
    "training": {name: getattr(TrainingConfig, name) for name in ("shooting_share", "defense_share")},
    "compete": {name: getattr(CompeteConfig, name) for name in ("stuck_after_s", "retry_first_s", "retry_most_s")}
    | {"connections": 1},
    "arena": {
        "tick_s": ArenaConfig.tick_s,
        **{"host": "127.0.0.1", "comprl_port": 65_335, "http_port": 8080, "bots": ["weak", "strong", "champion"]},
    },
    "evaluation": {"rounds": 200, "rinks": 128, "deterministic": True, "seed": 1},
}
OF_OTHER_COMMANDS = ("compete", "arena", "evaluation")
WAYS = {
    "evaluation.rounds": "give --rounds to `evaluate`",
    "evaluation.rinks": "any number plays the same rounds",
    "evaluation.deterministic": "give --sampled to `evaluate`",
    "evaluation.seed": "give --seed to `evaluate`",
    "compete.connections": "give --connections to `compete`",
    "arena.host": "give --host to `arena`",
    "arena.comprl_port": "give --comprl-port to `arena`",
    "arena.http_port": "give --http-port to `arena`",
    "arena.bots": "give --bots to `arena`",
}
"""What to do for another value than today's; where nothing is said, to leave it out."""
OPPONENTS = ("weak", "strong", "self", "past")
"""Their shares were settings of [league] each; now there is the table [league.opponents]."""


BEFORE = {
    **{"model.observed": False, "model.prediction_width": 1, "behavior.lookahead": 0, "behavior.siblings": 1},
    **{"training.prelude_updates": 0, "training.lesson_rounds": 0},
}
"""What held in runs whose config.toml is older than the setting."""


def modernise(values: dict[str, Any]) -> None:
    """Change one layer (a table per section) from how earlier versions named things to how this one does."""
    name_kind(values)
    for section, keys in WITHOUT_EFFECT.items():
        for key in keys:
            _table(values, section).pop(key, None)
    if _table(values, "run").get("kernels") == "torch":  # gave what "auto" gives
        values["run"]["kernels"] = "auto"
    league = _table(values, "league")
    shares, listed = {name: league.pop(name) for name in OPPONENTS if name in league}, league.get("opponents", {})
    if shares and isinstance(listed, dict):  # else it is told what is wrong with it
        league["opponents"] = {**shares, **listed}


def drop_constants(values: dict[str, Any], *, training: bool = False) -> None:
    """Take what is no longer a setting out of all layers together. Raises FormerSettingError for another value.

    training: what steered other commands alone goes, whatever it says.
    """
    for section in OF_OTHER_COMMANDS if training else ():
        for key in CONSTANTS[section]:
            _table(values, section).pop(key, None)
    drop_former(values, {**FORMER, **CONSTANTS})
    if not values.get("evaluation", True):
        del values["evaluation"]


def _table(values: dict[str, Any], section: str) -> dict[str, Any]:
    """The section's table; one that is of no use where there is none."""
    table = values.get(section)
    return table if isinstance(table, dict) else {}

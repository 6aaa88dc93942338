"""Who can play: the basic opponents, chance, an agent that dreams, classes of the user's and of other libraries.

`make_player` makes every one of them from the text by which the user names it; all of them keep to `Player`.
"""

from competitor.players.dreamer import DreamerPlayer, SampledDreamer
from competitor.players.foreign import ForeignPlayer
from competitor.players.player import (
    ACTION_SIZE,
    Array,
    Flags,
    Player,
    SeededPlayer,
    checked_actions,
    clean_actions,
    playing_rows,
)
from competitor.players.scripted import BasicPlayer, ChancePlayer, RandomPlayer
from competitor.players.specs import (
    AGENTS,
    CHAMPION,
    agent_path,
    checkpoint_path,
    fingerprint,
    kind_of,
    load_acting,
    make_player,
    searching,
    short_name,
)

__all__ = [
    "AGENTS",
    "ACTION_SIZE",
    "CHAMPION",
    "Array",
    "BasicPlayer",
    "ChancePlayer",
    "DreamerPlayer",
    "Flags",
    "ForeignPlayer",
    "Player",
    "RandomPlayer",
    "SampledDreamer",
    "SeededPlayer",
    "checked_actions",
    "agent_path",
    "checkpoint_path",
    "clean_actions",
    "fingerprint",
    "kind_of",
    "load_acting",
    "make_player",
    "playing_rows",
    "searching",
    "short_name",
]

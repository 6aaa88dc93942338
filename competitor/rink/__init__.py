"""Laser hockey: the rink, its rules and its basic opponents.

The classes are drop-in equals of those of the course's `hockey` package. Importing this package registers
`Hockey-v0` and `Hockey-One-v0` with gymnasium.
"""

from competitor.rink.basic_opponent import BasicOpponent
from competitor.rink.batch import RinkBatch
from competitor.rink.constants import Mode
from competitor.rink.engines import make_rink
from competitor.rink.env import HockeyEnv
from competitor.rink.observation import ACTION_MIRROR, OBS_MIRROR
from competitor.rink.one_player import HockeyEnv_BasicOpponent, register_rinks

__all__ = [
    "ACTION_MIRROR",
    "OBS_MIRROR",
    "BasicOpponent",
    "HockeyEnv",
    "HockeyEnv_BasicOpponent",
    "Mode",
    "RinkBatch",
    "make_rink",
]

register_rinks()

"""Laser hockey: the rink, its rules and its basic opponents.

The classes are drop-in equals of those of the course's `hockey` package. Importing this package registers
`Hockey-v0` and `Hockey-One-v0` with gymnasium.
"""

from competitor.rink.basic_opponent import BasicOpponent as BasicOpponent
from competitor.rink.batch import RinkBatch as RinkBatch
from competitor.rink.constants import Mode as Mode
from competitor.rink.engines import make_rink as make_rink
from competitor.rink.env import HockeyEnv as HockeyEnv
from competitor.rink.observation import ACTION_MIRROR as ACTION_MIRROR
from competitor.rink.observation import OBS_MIRROR as OBS_MIRROR
from competitor.rink.one_player import HockeyEnv_BasicOpponent as HockeyEnv_BasicOpponent
from competitor.rink.one_player import register_rinks

register_rinks()

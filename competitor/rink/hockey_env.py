"""Everything that the course's module `hockey.hockey_env` has, under its names.

A program written for that module runs on this rink when its one line `import hockey.hockey_env as h_env` becomes
`import competitor.rink.hockey_env as h_env`. docs/rink.md lists the differences.
"""

from competitor.rink.basic_opponent import BasicOpponent
from competitor.rink.bodies import GOAL_HALF_WIDTH as GOAL_SIZE
from competitor.rink.bodies import PLAYER_SHAPE as RACKETPOLY
from competitor.rink.bodies import PLAYER_SIZE as RACKETFACTOR
from competitor.rink.constants import CENTER_X, CENTER_Y, FPS, MAX_ANGLE, MAX_PUCK_SPEED, SCALE, Mode
from competitor.rink.constants import CENTER_ZONE as ZONE
from competitor.rink.constants import FORCE as FORCEMULTIPLIER
from competitor.rink.constants import HEIGHT as H
from competitor.rink.constants import KEEP_STEPS as MAX_TIME_KEEP_PUCK
from competitor.rink.constants import SHOOT_FORCE as SHOOTFORCEMULTIPLIER
from competitor.rink.constants import TORQUE as TORQUEMULTIPLIER
from competitor.rink.constants import VIEW_HEIGHT as VIEWPORT_H
from competitor.rink.constants import VIEW_WIDTH as VIEWPORT_W
from competitor.rink.constants import WIDTH as W
from competitor.rink.env import HockeyEnv
from competitor.rink.human_opponent import HumanOpponent
from competitor.rink.one_player import HockeyEnv_BasicOpponent

__all__ = [
    "CENTER_X",
    "CENTER_Y",
    "FORCEMULTIPLIER",
    "FPS",
    "GOAL_SIZE",
    "H",
    "MAX_ANGLE",
    "MAX_PUCK_SPEED",
    "MAX_TIME_KEEP_PUCK",
    "RACKETFACTOR",
    "RACKETPOLY",
    "SCALE",
    "SHOOTFORCEMULTIPLIER",
    "TORQUEMULTIPLIER",
    "VIEWPORT_H",
    "VIEWPORT_W",
    "W",
    "ZONE",
    "BasicOpponent",
    "HockeyEnv",
    "HockeyEnv_BasicOpponent",
    "HumanOpponent",
    "Mode",
]

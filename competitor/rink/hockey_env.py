"""Everything that the course's module `hockey.hockey_env` has, under its names.

A program written for that module runs on this rink when its one line `import hockey.hockey_env as h_env` becomes
`import competitor.rink.hockey_env as h_env`. docs/rink.md lists the differences.
"""

from competitor.rink import bodies, constants
from competitor.rink.basic_opponent import BasicOpponent as BasicOpponent
from competitor.rink.constants import CENTER_X as CENTER_X
from competitor.rink.constants import CENTER_Y as CENTER_Y
from competitor.rink.constants import FPS as FPS
from competitor.rink.constants import MAX_ANGLE as MAX_ANGLE
from competitor.rink.constants import MAX_PUCK_SPEED as MAX_PUCK_SPEED
from competitor.rink.constants import SCALE as SCALE
from competitor.rink.constants import Mode as Mode
from competitor.rink.env import HockeyEnv as HockeyEnv
from competitor.rink.human_opponent import HumanOpponent as HumanOpponent
from competitor.rink.one_player import HockeyEnv_BasicOpponent as HockeyEnv_BasicOpponent

VIEWPORT_W, VIEWPORT_H = constants.VIEW_WIDTH, constants.VIEW_HEIGHT
W, H, ZONE = constants.WIDTH, constants.HEIGHT, constants.CENTER_ZONE
FORCEMULTIPLIER, TORQUEMULTIPLIER, SHOOTFORCEMULTIPLIER = constants.FORCE, constants.TORQUE, constants.SHOOT_FORCE
MAX_TIME_KEEP_PUCK = constants.KEEP_STEPS
GOAL_SIZE, RACKETPOLY, RACKETFACTOR = bodies.GOAL_HALF_WIDTH, bodies.PLAYER_SHAPE, bodies.PLAYER_SIZE

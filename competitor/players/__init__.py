"""Who can play: the basic opponents, chance, an agent that dreams, classes of the user's and of other libraries.

`make_player` makes every one of them from the text by which the user names it; all of them keep to `Player`.
"""

from competitor.players.dreamer import DreamerPlayer as DreamerPlayer
from competitor.players.dreamer import SampledDreamer as SampledDreamer
from competitor.players.foreign import ForeignPlayer as ForeignPlayer
from competitor.players.player import ACTION_SIZE as ACTION_SIZE
from competitor.players.player import Array as Array
from competitor.players.player import Flags as Flags
from competitor.players.player import Player as Player
from competitor.players.player import SeededPlayer as SeededPlayer
from competitor.players.player import checked_actions as checked_actions
from competitor.players.player import clean_actions as clean_actions
from competitor.players.player import playing_rows as playing_rows
from competitor.players.scripted import BasicPlayer as BasicPlayer
from competitor.players.scripted import ChancePlayer as ChancePlayer
from competitor.players.scripted import RandomPlayer as RandomPlayer
from competitor.players.specs import AGENTS as AGENTS
from competitor.players.specs import CHAMPION as CHAMPION
from competitor.players.specs import agent_path as agent_path
from competitor.players.specs import checkpoint_path as checkpoint_path
from competitor.players.specs import fingerprint as fingerprint
from competitor.players.specs import kind_of as kind_of
from competitor.players.specs import load_acting as load_acting
from competitor.players.specs import make_player as make_player
from competitor.players.specs import searching as searching
from competitor.players.specs import short_name as short_name

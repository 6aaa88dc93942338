"""What the rink's settings mean for the sizes of the agent and of its memory."""

import numpy as np

from competitor.config import Config
from competitor.rink import ACTION_MIRROR, OBS_MIRROR
from dreamer.replay import Mirror

FEATURES, ACTIONS = 18, 4
WITHOUT_KEEP_MODE = (16, 3)


def sizes(config: Config) -> tuple[int, int]:
    """Numbers in an observation and in an action of the rink."""
    return (FEATURES, ACTIONS) if config.rink.keep_mode else WITHOUT_KEEP_MODE


def mirror(config: Config) -> Mirror:
    """The rink's up-down reflection."""
    features, actions = sizes(config)
    return Mirror(OBS_MIRROR[:features].astype(np.float32), ACTION_MIRROR[:actions].astype(np.float32))

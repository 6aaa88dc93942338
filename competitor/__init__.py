"""The player: the rink, opponents, self-play training, the league and local evaluation."""

import warnings

# Said while Box2D's bindings are loaded, which crash where warnings are errors (python -W error).
warnings.filterwarnings("ignore", "builtin type .* has no __module__ attribute", DeprecationWarning)

__version__ = "0.1.0"

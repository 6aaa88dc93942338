"""The player: the rink, opponents, self-play training, the league and local evaluation."""

__version__ = "0.1.0"

"""The names under which gymnasium.make finds the rink."""

from __future__ import annotations

from gymnasium.envs.registration import register, registry, spec

from competitor.rink.env import HockeyEnv
from competitor.rink.one_player import HockeyEnv_BasicOpponent


def register_rinks() -> None:
    """Register Hockey-v0 and Hockey-One-v0, in place of the course package's entries, which point nowhere.

    They count as nondeterministic, since who starts alternates with every reset whatever the seed is. A rink
    that was made without gymnasium.make carries the same specification, so that tools know about it as well.
    """
    for name, kind in (("Hockey-v0", HockeyEnv), ("Hockey-One-v0", HockeyEnv_BasicOpponent)):
        registry.pop(name, None)
        register(id=name, entry_point=f"{kind.__module__}:{kind.__name__}", nondeterministic=True)
        kind.spec = spec(name)

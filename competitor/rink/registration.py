"""The names under which gymnasium.make finds the rink."""

from __future__ import annotations

from dataclasses import replace

from gymnasium.envs.registration import register, registry, spec

from competitor.rink.env import HockeyEnv
from competitor.rink.one_player import HockeyEnv_BasicOpponent


def register_rinks() -> None:
    """Register Hockey-v0 and Hockey-One-v0, in place of the course package's entries, which point nowhere.

    Made that way a seed decides everything that follows. A class used directly is the reference's, where who starts
    alternates whatever the seed is: it carries a specification that says so.
    """
    for name, kind in (("Hockey-v0", HockeyEnv), ("Hockey-One-v0", HockeyEnv_BasicOpponent)):
        registry.pop(name, None)
        register(id=name, entry_point=f"{kind.__module__}:{kind.__name__}", kwargs={"fresh_on_seed": True})
        kind.spec = replace(spec(name), nondeterministic=True, kwargs={})

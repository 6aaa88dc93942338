"""The players that a training meets: those of [league.opponents], and the past selves loaded at the moment."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from competitor.config import PAST, SELF, Config
from competitor.players import DreamerPlayer, Player, make_player
from dreamer.agent import Dreamer

LoadSnapshot = Callable[[str], Dreamer]


def listed_players(config: Config, more: Iterable[str] = ()) -> dict[str, Player]:
    """The opponents of [league.opponents] that are loaded from somewhere, by their names, and those in `more`.

    Raises PlayerError and the like when one of them is nobody or cannot be loaded; see `make_player`.
    """
    names = [name for name in dict.fromkeys([*config.league.shares, *more]) if name not in (SELF, PAST)]
    return {name: sampling_player(name, config) for name in names}


def sampling_player(name: str, config: Config) -> Player:
    """A player for rounds of training: whose policy is stochastic samples its actions. Raises as `make_player`."""
    return make_player(name, seed=config.run.seed, deterministic=False, keep_mode=config.rink.keep_mode)


class Roster(Mapping[str, Player]):
    """The opponents by name. Past selves are loaded when drawn and forgotten when no longer needed.

    agent: plays as "self". load: reads a snapshot by name. The generator of a loaded self is seeded by the caller,
    or restored.
    """

    def __init__(self, agent: Dreamer, listed: Mapping[str, Player], load: LoadSnapshot) -> None:
        self._load = load
        self._always: dict[str, Player] = {**listed, SELF: DreamerPlayer(agent, SELF, deterministic=False)}
        self.past: dict[str, DreamerPlayer] = {}

    def __getitem__(self, key: str) -> Player:
        return self._always[key] if key in self._always else self.past[key]

    def __iter__(self) -> Iterator[str]:
        yield from self._always
        yield from self.past

    def __len__(self) -> int:
        return len(self._always) + len(self.past)

    def bring_past(self, name: str) -> Dreamer:
        """Make sure that the past self `name` is loaded; returns it."""
        if name not in self.past:
            self.past[name] = DreamerPlayer(self._load(name), name, deterministic=False)
        return self.past[name].agent

    def forget_others(self, needed: Iterable[str]) -> None:
        """Unload every past self that is not in `needed`."""
        wanted = set(needed)
        self.past = {name: player for name, player in self.past.items() if name in wanted}

    def dreamers(self) -> dict[str, DreamerPlayer]:
        """Those whose memory has to be saved, by the names that they have in a save."""
        always = {name if name == SELF else f"listed {name}": player for name, player in self._always.items()}
        players = {**always, **self.past}
        return {name: player for name, player in players.items() if isinstance(player, DreamerPlayer)}

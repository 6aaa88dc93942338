"""Who plays the next round of training, against whom, where and from which start.

The matchmaker is the table's schedule: asked for a pairing, it draws the kind of opponent by the shares in
[league], the mode by those in [training], and lets seat and starter take turns. The roster holds the players
it draws from: the basic opponents, the live self, and the few past selves that are loaded at the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from competitor.config import Config, LeagueConfig, TrainingConfig
from competitor.play.rounds import Pairing
from competitor.players import BasicPlayer, DreamerPlayer, Player
from competitor.rink import Mode
from competitor.train.league import KINDS, League
from dreamer.agent import Dreamer

MOST_SEED = 2**31
LoadSnapshot = Callable[[str], Dreamer]


def kind_of(opponent: str) -> str:
    """The kind (weak, strong, self or past) of an opponent's key."""
    return opponent if opponent in KINDS[:3] else "past"


class Roster(Mapping[str, Player]):
    """The opponents by key. Past selves are loaded when drawn and forgotten when no longer needed.

    load: reads a snapshot by name. The generator of a loaded self is seeded by the caller, or restored.
    """

    def __init__(self, agent: Dreamer, config: Config, load: LoadSnapshot) -> None:
        keep_mode = config.rink.keep_mode
        self._load = load
        self._always: dict[str, Player] = {
            "weak": BasicPlayer(weak=True, keep_mode=keep_mode),
            "strong": BasicPlayer(weak=False, keep_mode=keep_mode),
            "self": DreamerPlayer(agent, "self", deterministic=False),
        }
        self.past: dict[str, tuple[Dreamer, DreamerPlayer]] = {}

    def __getitem__(self, key: str) -> Player:
        return self._always[key] if key in self._always else self.past[key][1]

    def __iter__(self) -> Iterator[str]:
        yield from self._always
        yield from self.past

    def __len__(self) -> int:
        return len(self._always) + len(self.past)

    def bring(self, name: str) -> Dreamer:
        """Make sure that the past self `name` is loaded; returns it."""
        if name not in self.past:
            agent = self._load(name)
            self.past[name] = (agent, DreamerPlayer(agent, name, deterministic=False))
        return self.past[name][0]

    def forget_others(self, needed: Iterable[str]) -> None:
        """Unload every past self that is not in `needed`."""
        wanted = set(needed)
        self.past = {name: entry for name, entry in self.past.items() if name in wanted}


class Matchmaker(Iterator[Pairing]):
    """The endless schedule of training rounds; all chance comes from `generator`."""

    def __init__(self, config: Config, league: League, roster: Roster, generator: np.random.Generator) -> None:
        self._training: TrainingConfig = config.training
        self._shares: LeagueConfig = config.league
        self._league = league
        self._roster = roster
        self._generator = generator
        self._turns = dict.fromkeys(KINDS, 0)
        self.active: list[str] = []
        self._rounds_since_draw = 0

    def __next__(self) -> Pairing:
        kind = self._draw_kind()
        opponent = kind if kind != "past" else self.active[int(self._generator.integers(len(self.active)))]
        turn = self._turns[kind]
        self._turns[kind] += 1
        self._rounds_since_draw += 1
        return Pairing(
            one_starting=turn // 2 % 2 == 0,
            seed=int(self._generator.integers(MOST_SEED)),
            mode=self._draw_mode(),
            seat=turn % 2,
            opponent=opponent,
        )

    def _draw_kind(self) -> str:
        """By the shares; while nobody of the past is there, their share goes to the others."""
        kinds = KINDS if self.active else KINDS[:3]
        shares = np.array([getattr(self._shares, kind) for kind in kinds], dtype=np.float64)
        return kinds[int(self._generator.choice(len(kinds), p=shares / shares.sum()))]

    def _draw_mode(self) -> Mode:
        drawn = self._generator.random()
        if drawn < self._training.shooting_share:
            return Mode.TRAIN_SHOOTING
        if drawn < self._training.shooting_share + self._training.defense_share:
            return Mode.TRAIN_DEFENSE
        return Mode.NORMAL

    @property
    def redraw_is_due(self) -> bool:
        """Whether redraw_rounds rounds have begun since the last draw, or the first snapshot has come."""
        nobody_yet = not self.active and bool(self._league.members)
        return nobody_yet or self._rounds_since_draw >= self._shares.redraw_rounds

    def redraw(self, in_play: Iterable[str]) -> None:
        """Choose the active past selves anew by PFSP.

        in_play: opponents of running rounds; they stay loaded until their rounds have ended.
        """
        self._rounds_since_draw = 0
        self.active = self._league.draw(self._shares.active_snapshots, self._generator)
        self._roster.forget_others([*self.active, *in_play])
        for name in self.active:
            if name not in self._roster.past:
                seed = int(self._generator.integers(MOST_SEED))
                self._roster.bring(name).generator.manual_seed(seed)

    def to_json(self) -> dict[str, Any]:
        """Turns, active selves and the generator as JSON values; `restore` takes them back exactly."""
        return {
            "turns": self._turns,
            "active": self.active,
            "rounds_since_draw": self._rounds_since_draw,
            "generator": self._generator.bit_generator.state,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `to_json` gave; the active selves must be on the roster already."""
        self._turns = dict(state["turns"])
        self.active = list(state["active"])
        self._rounds_since_draw = int(state["rounds_since_draw"])
        self._generator.bit_generator.state = state["generator"]

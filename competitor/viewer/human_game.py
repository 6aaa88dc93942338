"""Rounds of a person against a player, one step at a time: no clock, no network."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from competitor.play.npz import SUFFIX
from competitor.play.recording import record_round
from competitor.play.rounds import Round, RoundRunner, RoundSetup
from competitor.players import Array, Flags, Player
from competitor.viewer.frames import Json, frames_of, round_json, rounded

MOST_SEED = 2**31
IDLE = (0.0, 0.0, 0.0, 0.0)
NUMBERED = re.compile(rf"-(\d+)-[a-z]+{re.escape(SUFFIX)}$")


class Person:
    """A player who does what was last told: `action` (4,), in the own frame."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.action: Sequence[float] = IDLE

    def reset(self, slots: int) -> None:
        """Nothing has to be forgotten."""

    def act(self, obs: Array, is_first: Flags) -> Array:
        return np.tile(np.array(self.action, np.float32), (len(obs), 1))


@dataclass(frozen=True)
class PlayedStep:
    """What a step brought: for the viewer's push, and the round if it ended with it."""

    push: Json
    ended: Round | None


class HumanGame:
    """Rounds without end between a person, at `side` (0 left, 1 right), and a player; who starts alternates.

    Raises PlayerError from a player that fails.
    """

    def __init__(self, opponent: Player, *, name: str, side: int, chance: np.random.Generator) -> None:
        self.side, self.number = side, 1
        self.score = (0, 0)  # of the left and the right player
        self._person, self._chance = Person(name), chance
        self._names = (name, opponent.name) if side == 0 else (opponent.name, name)
        self._runner = RoundRunner(1, self._person, {opponent.name: opponent}, self._setups(opponent.name))

    def _setups(self, opponent: str) -> Iterator[RoundSetup]:
        starts = bool(self._chance.integers(2))
        while True:
            seed = int(self._chance.integers(MOST_SEED))
            yield RoundSetup(one_starting=starts, seed=seed, side=self.side, opponent=opponent)
            starts = not starts

    def begin(self) -> Json:
        """The round that is played now, for the viewer's begin; call it before the first step of a round."""
        shown = round_json(self._runner.obs[0], (np.zeros((0, 4)), np.zeros((0, 4))), None, self.score)
        return {"names": self._names, "number": self.number, "round": shown}

    def step(self, action: Sequence[float]) -> PlayedStep:
        """Play a step. action: push x, push y, turn and shoot, in [-1, 1], as directions on the screen."""
        x, y, turn, shoot = action
        self._person.action = (x, y, turn, shoot) if self.side == 0 else (-x, -y, turn, shoot)
        (ended,) = self._runner.step() or (None,)
        if ended is None:
            views, actions = self._runner.obs[0], self._runner.running_rounds()[0].actions[:, -1:]
        else:
            views, actions = ended.obs[0, -1:], ended.actions[:, -1:]
            self.score = (self.score[0] + (ended.winner == 1), self.score[1] + (ended.winner == -1))
            self.number += 1
        return PlayedStep({"frames": frames_of(views), "actions": rounded(actions)}, ended)


class RoundKeeper:
    """Keeps rounds as recordings in a folder, numbered on from those that are there."""

    def __init__(self, folder: Path, player: str) -> None:
        self.folder, self._player = folder, player
        found = (NUMBERED.search(path.name) for path in folder.glob(f"*{SUFFIX}"))
        self._next = max((int(match[1]) for match in found if match), default=-1) + 1

    def keep(self, played: Round) -> Path:
        """Write a round down and return its file; raises OSError when the disk refuses."""
        path = record_round(
            self.folder, played, number=self._next, player=self._player, engine="builtin", keep_mode=True
        )
        self._next += 1
        return path

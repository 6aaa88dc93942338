"""Rounds before the learner plays: basic opponents in every combination, some of them disturbed or quite random.

They cost next to nothing and show the world model how the rink moves under all kinds of actions, also those
that neither a basic opponent nor an untrained policy would choose. Lessons are rounds of a teacher, whom the policy
imitates at first.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Required, TypedDict, Unpack

import numpy as np

from competitor.play.rounds import Round, RoundSetup, play_rounds
from competitor.players import ACTION_SIZE, Array, ChancePlayer, Flags, Player, playing_rows
from competitor.rink import BasicOpponent, Mode

Behaviour = Literal["plain", "noisy", "random"]

BEHAVIOURS: tuple[Behaviour, ...] = ("plain", "noisy", "random")
BEHAVIOUR_SHARES = (0.5, 0.25, 0.25)
LONGEST_HOLD = 15  # steps; about as long as a racket may keep the puck
NOISE = 0.7
MODES = (Mode.NORMAL, Mode.TRAIN_SHOOTING, Mode.TRAIN_DEFENSE)
MODE_SHARES = (0.8, 0.1, 0.1)
MOST_SEED = 2**31


class WarmupPlayer(ChancePlayer):
    """Behaves in each round in a way of its own: a basic opponent, one with held noise, or held random actions.

    Held means for 1 to 15 steps: single random steps of 20 ms cancel out and never move a racket far.
    """

    def __init__(self, name: str, seed: int, *, keep_mode: bool = True) -> None:
        super().__init__(seed)
        self.name = name
        self._keep_mode = keep_mode

    def reset(self, slots: int) -> None:
        super().reset(slots)
        self.behaviours: list[Behaviour] = ["plain"] * slots
        self._bots = [BasicOpponent(keep_mode=self._keep_mode, generator=chance) for chance in self._chance]
        self._held: Array = np.zeros((slots, ACTION_SIZE), dtype=np.float32)
        self._left = np.zeros(slots, dtype=np.int64)

    def act(self, obs: Array, is_first: Flags) -> Array:
        for slot in np.flatnonzero(is_first):
            self._begin(int(slot))
        actions = np.zeros((len(self._bots), ACTION_SIZE), dtype=np.float32)
        for slot in playing_rows(obs):
            actions[slot] = self._act_one(int(slot), obs[slot])
        return actions

    def _begin(self, slot: int) -> None:
        chance = self.chance_of_new_round(slot)
        self.behaviours[slot] = BEHAVIOURS[int(chance.choice(len(BEHAVIOURS), p=BEHAVIOUR_SHARES))]
        weak = bool(chance.integers(2))
        self._bots[slot] = BasicOpponent(weak=weak, keep_mode=self._keep_mode, generator=chance)
        self._left[slot] = 0

    def _act_one(self, slot: int, obs: Array) -> Array:
        action = np.zeros(ACTION_SIZE, dtype=np.float32)
        chosen = self._bots[slot].act(obs.tolist())
        action[: len(chosen)] = chosen
        if self.behaviours[slot] == "plain":
            return action
        if self._left[slot] == 0:
            self._hold_anew(slot)
        self._left[slot] -= 1
        if self.behaviours[slot] == "random":
            action = self._held[slot].copy()
        else:
            action += NOISE * self._held[slot]
        return np.clip(action, -1.0, 1.0, out=action)

    def _hold_anew(self, slot: int) -> None:
        """Half of the time full force, as strong players move, otherwise anything between."""
        chance = self._chance[slot]
        drawn = chance.uniform(-1.0, 1.0, ACTION_SIZE)
        self._held[slot] = np.sign(drawn) if chance.integers(2) else drawn
        self._left[slot] = chance.integers(1, LONGEST_HOLD + 1)


def warmup_setups(rounds: int, generator: np.random.Generator) -> list[RoundSetup]:
    """Rounds of the warm-up: starters alternate, a fifth of the rounds are of the training modes."""
    modes = generator.choice(len(MODES), size=rounds, p=MODE_SHARES)
    seeds = generator.integers(MOST_SEED, size=rounds)
    return [
        RoundSetup(one_starting=index % 2 == 0, seed=int(seed), mode=MODES[int(mode)])
        for index, (seed, mode) in enumerate(zip(seeds, modes, strict=True))
    ]


class Where(TypedDict, total=False):
    """Where and how rounds are played, see play_rounds."""

    rinks: Required[int]
    engine: str
    keep_mode: bool
    on_round: Callable[[Round], None] | None
    on_step: Callable[[], None] | None


def play_warmup(rounds: int, generator: np.random.Generator, **where: Unpack[Where]) -> list[Round]:
    """Play `rounds` rounds between two warm-up players; all chance comes from `generator`."""
    seeds = generator.integers(MOST_SEED, size=2)
    one, two = (
        WarmupPlayer(name, int(seed), keep_mode=where.get("keep_mode", True))
        for name, seed in zip(("warm-up one", "warm-up two"), seeds, strict=True)
    )
    return play_rounds(one, two, warmup_setups(rounds, generator), **where)


def play_lessons(
    rounds: int, generator: np.random.Generator, teacher: Player, others: Sequence[Player], **where: Unpack[Where]
) -> list[tuple[Round, tuple[int, ...]]]:
    """Play `rounds` rounds of `teacher`, as many against each of `others`; sides and starters take turns.

    Returns each round with the views that the teacher played: both where it plays its like.
    """
    lessons: list[tuple[Round, tuple[int, ...]]] = []
    for number, other in enumerate(others):
        seeds = generator.integers(MOST_SEED, size=len(range(number, rounds, len(others))))
        setups = [RoundSetup(one_starting=i % 2 == 0, seed=int(seed), side=i // 2 % 2) for i, seed in enumerate(seeds)]
        for played in play_rounds(teacher, other, setups, **where):
            lessons.append((played, (0, 1) if other.name == teacher.name else (played.setup.side,)))
    return lessons

"""Who plays the next round of training, against whom, where and from which start.

The matchmaker is the round runner's schedule: asked for a setup, it draws the opponent by the shares in
[league.opponents] and the mode by fixed ones, lets the sides take turns, and gives the other the kick-off more often
than the learner as long as more is lost there. While the training consolidates, the learner's own share goes to its
past selves, all of whom are met alike.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from competitor.config import PAST, SELF, Config, TrainingConfig
from competitor.play.rounds import RoundSetup, draw_by_share
from competitor.rink import Mode
from competitor.train.league import League
from competitor.train.roster import Roster

MOST_SEED = 2**31
ACTIVE_SNAPSHOTS = 2  # past selves in play at a time: each one costs a batched forward pass of its own


class Matchmaker(Iterator[RoundSetup]):
    """The endless schedule of training rounds; all chance comes from `generator`."""

    def __init__(self, config: Config, league: League, roster: Roster, generator: np.random.Generator) -> None:
        self._training: TrainingConfig = config.training
        self._shares = config.league.shares
        self._redraw_rounds = config.training.rinks  # about one on each rink
        self.league = league
        self.roster = roster
        self._generator = generator
        self._turns = dict.fromkeys(self._shares, 0)
        self.active: list[str] = []
        self.consolidates = False
        self._rounds_since_draw = 0

    def __next__(self) -> RoundSetup:
        listed = self._draw_listed()
        opponent = listed if listed != PAST else self.active[int(self._generator.integers(len(self.active)))]
        side = self._turns[listed] % 2
        self._turns[listed] += 1
        self._rounds_since_draw += 1
        other_starts = self._generator.random() < self.league.opponents[listed].other_start_share
        return RoundSetup(
            one_starting=(side == 0) != other_starts,
            seed=int(self._generator.integers(MOST_SEED)),
            mode=self._draw_mode(),
            side=side,
            opponent=opponent,
        )

    def _draw_listed(self) -> str:
        """By the shares; while nobody of the past is there, their share goes to the others."""
        given = {name: share for name, share in self._shares.items() if name != PAST or self.active}
        if self.consolidates and PAST in given:
            given[PAST] += given.pop(SELF, 0.0)
        return draw_by_share(given, self._generator)

    def _draw_mode(self) -> Mode:
        drawn = self._generator.random()
        if drawn < self._training.shooting_share:
            return Mode.TRAIN_SHOOTING
        if drawn < self._training.shooting_share + self._training.defense_share:
            return Mode.TRAIN_DEFENSE
        return Mode.NORMAL

    @property
    def redraw_is_due(self) -> bool:
        """Whether as many rounds as there are rinks have begun since the last draw, or the first snapshot has come."""
        nobody_yet = not self.active and bool(self.league.members)
        return nobody_yet or self._rounds_since_draw >= self._redraw_rounds

    def redraw(self, in_play: Iterable[str]) -> None:
        """Choose the active past selves anew, by PFSP or, while the training consolidates, evenly.

        in_play: opponents of running rounds; they stay loaded until their rounds have ended.
        """
        self._rounds_since_draw = 0
        self.active = self.league.draw(ACTIVE_SNAPSHOTS, self._generator, evenly=self.consolidates)
        self.roster.forget_others([*self.active, *in_play])
        for name in self.active:
            if name not in self.roster.past:
                seed = int(self._generator.integers(MOST_SEED))
                self.roster.bring_past(name).generator.manual_seed(seed)

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
        self._turns |= {name: int(turn) for name, turn in state["turns"].items() if name in self._turns}
        self.active = list(state["active"])
        self._rounds_since_draw = int(state["rounds_since_draw"])
        self._generator.bit_generator.state = state["generator"]

"""Many rounds at once between two players: the one place where rounds are played locally."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from competitor.config import RewardWeights
from competitor.players import Array, Player, SeededPlayer
from competitor.rink import Mode, RinkBatch
from competitor.rink.constants import MOST_STEPS
from dreamer.replay import Episode


@dataclass(frozen=True)
class RoundSetup:
    """How one round is to be played by the runner's player (A) against another (B).

    side: A is player one (0, left) or player two (1, right). opponent: B's key in the runner's opponents.
    """

    one_starting: bool
    seed: int
    mode: Mode = Mode.NORMAL
    side: int = 0
    opponent: str = ""


def draw_by_share(shares: Mapping[str, float], chance: np.random.Generator) -> str:
    """One of the names, as often as its share of their sum says."""
    weights = np.array(list(shares.values()))
    return list(shares)[int(chance.choice(len(weights), p=weights / weights.sum()))]


@dataclass(frozen=True)
class Round:
    """A finished round. Axis 0 of every array is the view: 0 player one, 1 player two.

    obs (2, steps + 1, 18) float32, the last one after the last action; actions (2, steps, 4) float32, each in its
    player's own frame; info (2, steps, 4) float64 (closeness, touch, direction, winner) after each action.
    """

    setup: RoundSetup
    obs: Array
    actions: Array
    info: NDArray[np.float64]

    @property
    def steps(self) -> int:
        return int(self.actions.shape[1])

    @property
    def winner(self) -> int:
        """+1 when player one scored, -1 when player two did, 0 when time ran out."""
        return int(np.sign(self.info[0, -1, 3]))

    @property
    def result(self) -> int:
        """+1 when A scored, -1 when B did, 0 when time ran out."""
        return self.winner if self.setup.side == 0 else -self.winner

    @property
    def is_decided(self) -> bool:
        """Whether its end is a result, also for the value of its last state: a goal, or the clock, which makes a draw.

        Not so in the training modes: there the clock only ends the exercise.
        """
        return self.winner != 0 or self.setup.mode is Mode.NORMAL

    def episode(self, view: int, weights: RewardWeights, *, lesson: bool = False, own: bool = False) -> Episode:
        """Return what the player at `view` lived through.

        lesson: what this player does is to be imitated. own: this player is the one that learns.
        """
        return Episode(
            obs=self.obs[view],
            action=self.actions[view],
            reward=weights.rewards(self.info[view]),
            terminal=self.is_decided,
            lesson=lesson,
            own=own,
        )


@dataclass(frozen=True)
class RunningRound:
    """A round that is not over yet: where it is played, how it began and the actions (2, steps, 4) so far."""

    rink: int
    setup: RoundSetup
    actions: Array


class _RinkStates:
    """What runs on each rink: the round's setup and its opponent, None while the rink is idle; and what has happened.

    The history is kept in arrays as long as the longest round, by side and rink: obs (2, rinks, 252, features), one
    more than steps; actions (2, rinks, 251, action size); info (2, rinks, 251, 4).
    """

    def __init__(self, rinks: int, features: int, action_size: int) -> None:
        self.obs: Array = np.zeros((2, rinks, MOST_STEPS + 1, features), dtype=np.float32)
        self.actions: Array = np.zeros((2, rinks, MOST_STEPS, action_size), dtype=np.float32)
        self.info = np.zeros((2, rinks, MOST_STEPS, 4))
        self.setups: list[RoundSetup | None] = [None] * rinks
        self.opponents: list[Player | None] = [None] * rinks
        self.side_of_a = np.zeros(rinks, dtype=np.intp)
        self.steps = np.zeros(rinks, dtype=np.intp)
        self.is_first = np.zeros(rinks, dtype=np.bool_)
        self.running = np.zeros(rinks, dtype=np.bool_)


class RoundRunner:
    """Plays rounds of one player against its opponents on many rinks at once.

    Each player acts once per step for all its rinks (slot = rink); who has no running round is not asked.
    The schedule is asked for the next setup the moment a rink is free; once exhausted the rink stays idle.
    `opponents` may change between steps: a running round keeps the player it began with.
    Raises PlayerError from a player that fails, EngineError from an engine that is not installed.
    """

    def __init__(
        self,
        rinks: int,
        player: Player,
        opponents: Mapping[str, Player],
        schedule: Iterator[RoundSetup],
        *,
        engine: str = "builtin",
        keep_mode: bool = True,
        running: Sequence[RunningRound] | None = None,
    ) -> None:
        self._player, self._opponents, self._schedule = player, opponents, schedule
        self._batch = RinkBatch(rinks, engine=engine, keep_mode=keep_mode)
        self._action_size = 4 if keep_mode else 3
        self._states = _RinkStates(rinks, self._batch.obs.shape[2], self._action_size)
        self._ready: list[Player] = []
        self._rinks = rinks
        player.reset(rinks)
        if running is None:
            for rink in range(rinks):
                self._start_next(rink)
        else:
            self._take_up(running)

    def running_rounds(self) -> list[RunningRound]:
        """Return what `running` of a new runner needs to go on from here.

        Players whose chance is not the round's (a sampling dreamer) need their own state put back afterwards.
        """
        actions, steps = self._states.actions, self._states.steps
        setups = enumerate(self._states.setups)
        return [RunningRound(rink, setup, actions[:, rink, : steps[rink]].copy()) for rink, setup in setups if setup]

    def _take_up(self, rounds: Sequence[RunningRound]) -> None:
        """Play unfinished rounds up to where they stopped, aligned at their ends, with the actions they had.

        The players are asked as if it were play, so that a basic opponent's phase comes out as it was.
        """
        longest = max((running.actions.shape[1] for running in rounds), default=0)
        for time in range(longest + 1):
            for running in rounds:
                if running.actions.shape[1] == longest - time:
                    self._start(running.rink, running.setup)
            if time < longest:
                actions = self._actions()
                for running in rounds:
                    if self._states.running[running.rink]:
                        actions[:, running.rink] = running.actions[:, time - longest]
                self._play(actions)

    @property
    def obs(self) -> Array:
        """Both players' views (2, rinks, 18) as they are now; on a rink whose round has ended those of its next one."""
        return self._batch.obs

    @property
    def active(self) -> int:
        return int(self._states.running.sum())

    def step(self) -> list[Round]:
        """Play one step on every running rink; return the rounds that it finished, in rink order."""
        rinks = np.flatnonzero(self._states.running)
        if not rinks.size:
            return []
        self._play(self._actions())
        ended = rinks[self._batch.done[rinks]]
        finished = [self._finish(int(rink)) for rink in ended]
        for rink in ended:
            self._start_next(int(rink))
        return finished

    def _actions(self) -> Array:
        """Ask every player; return the actions (2, rinks, 4) by side of the rink."""
        states, batch = self._states, self._batch
        actions = np.zeros((2, self._rinks, self._action_size), dtype=np.float32)
        for player, rinks in self._players_and_rinks():
            sides = states.side_of_a[rinks] if player is self._player else 1 - states.side_of_a[rinks]
            obs = np.full(batch.obs.shape[1:], np.nan, dtype=np.float32)
            obs[rinks] = batch.obs[sides, rinks]
            is_first = np.zeros(self._rinks, dtype=np.bool_)
            is_first[rinks] = states.is_first[rinks]
            actions[sides, rinks] = player.act(obs, is_first)[rinks, : self._action_size]
        return actions

    def _players_and_rinks(self) -> Iterator[tuple[Player, NDArray[np.intp]]]:
        """Yield every player that has running rounds, with their rinks."""
        running = np.flatnonzero(self._states.running)
        yield self._player, running
        met: dict[int, tuple[Player, list[int]]] = {}
        for rink in running.tolist():
            opponent = self._states.opponents[rink]
            if opponent is not None:
                met.setdefault(id(opponent), (opponent, []))[1].append(rink)
        for opponent, rinks in met.values():
            yield opponent, np.array(rinks, dtype=np.intp)

    def _play(self, actions: Array) -> None:
        """Play one step and note it: the batch overwrites its arrays at the next one."""
        states = self._states
        rinks = np.flatnonzero(states.running)
        self._batch.step(np.concatenate(tuple(actions), axis=1))
        times = states.steps[rinks]
        states.actions[:, rinks, times] = actions[:, rinks]
        states.info[:, rinks, times] = self._batch.info[:, rinks]
        states.obs[:, rinks, times + 1] = self._batch.obs[:, rinks]
        states.steps[rinks] += 1
        states.is_first[rinks] = False

    def _finish(self, rink: int) -> Round:
        states, steps = self._states, int(self._states.steps[rink])
        setup, obs = states.setups[rink], states.obs[:, rink, : steps + 1].copy()
        assert setup is not None
        return Round(setup, obs, states.actions[:, rink, :steps].copy(), states.info[:, rink, :steps].copy())

    def _start_next(self, rink: int) -> None:
        """Start the schedule's next round on `rink`, or leave it idle when there is none."""
        setup = next(self._schedule, None)
        if setup is not None:
            self._start(rink, setup)
            return
        self._states.setups[rink], self._states.opponents[rink], self._states.running[rink] = None, None, False

    def _start(self, rink: int, setup: RoundSetup) -> None:
        states = self._states
        states.setups[rink], states.side_of_a[rink], states.steps[rink] = setup, setup.side, 0
        states.opponents[rink] = opponent = self._prepared(self._opponents[setup.opponent])
        states.running[rink] = states.is_first[rink] = True
        self._batch.reset(rink, one_starting=setup.one_starting, seed=setup.seed, mode=setup.mode)
        states.obs[:, rink, 0] = self._batch.obs[:, rink]
        for who, player in enumerate((self._player, opponent)):
            if isinstance(player, SeededPlayer):
                player.begin_round(rink, (setup.seed, who))

    def _prepared(self, opponent: Player) -> Player:
        """Make an opponent ready for all rinks at its first round; forget those that left."""
        if opponent is self._player:
            raise ValueError("a player cannot be its own opponent: use a second object")
        if not any(opponent is ready for ready in self._ready):
            kept = [*self._opponents.values(), *self._states.opponents]
            self._ready = [ready for ready in self._ready if any(ready is player for player in kept)]
            self._ready.append(opponent)
            opponent.reset(self._rinks)
        return opponent


def play_rounds(
    player: Player,
    opponent: Player,
    setups: Iterable[RoundSetup],
    *,
    rinks: int,
    engine: str = "builtin",
    keep_mode: bool = True,
    on_round: Callable[[Round], None] | None = None,
    on_step: Callable[[], None] | None = None,
) -> list[Round]:
    """Play all `setups` against `opponent`, whatever key they name; return the rounds in that order.

    on_step is called before every step; what it raises ends the play.
    """
    all_setups = [replace(setup, opponent=opponent.name) for setup in setups]
    slots = max(1, min(rinks, len(all_setups)))
    runner = RoundRunner(slots, player, {opponent.name: opponent}, iter(all_setups), engine=engine, keep_mode=keep_mode)
    rounds: dict[int, Round] = {}
    while runner.active:
        if on_step is not None:
            on_step()
        for played in runner.step():
            rounds[id(played.setup)] = played
            if on_round is not None:
                on_round(played)
    return [rounds[id(setup)] for setup in all_setups]

"""Rounds that no training has seen, to judge a world model and a critic by.

Their seeds form a stream of their own: a training draws nothing from it, and one seed always gives the same rounds.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from competitor.config import Config, RewardWeights
from competitor.errors import RecordingError
from competitor.evaluate.evaluation import RINKS, paired_schedule
from competitor.inspect.dream_check import CONTEXT, GOAL_HORIZON, Windows, cut_windows, window_starts
from competitor.play.recording import load_episodes
from competitor.play.rounds import Round, play_rounds
from competitor.play.warmup import play_warmup
from competitor.players import BasicPlayer, DreamerPlayer
from competitor.screen import Count, uncounted
from dreamer.agent import Dreamer
from dreamer.replay import Episode

STREAM = 60_000_519
"""Stands before every seed here, so that no other part of the program draws the same numbers."""
BASIC_ROUNDS = 60
OWN_ROUNDS = 100
TRAINING_ROUNDS, TRAINING_SEED = 24, 1
MOST_VIEWS = 300
"""Recorded views that are judged at most; more would need gigabytes."""
BASIC, OWN, RECORDED = "basic players", "this agent", "recorded"


@dataclass(frozen=True)
class HeldOut:
    """Episodes and numbers of rounds, by who played: BASIC (both views), OWN (the agent's view) or RECORDED.

    Recorded rounds are counted by views: of a server's match there is one of each round, otherwise there are two.
    """

    episodes: dict[str, list[Episode]]
    rounds: dict[str, int]
    notes: list[str] = field(default_factory=list)

    @property
    def all_episodes(self) -> list[Episode]:
        """The episodes of all sources, one source after the other."""
        return [episode for episodes in self.episodes.values() for episode in episodes]


def play_held_out(
    agent: Dreamer,
    weights: RewardWeights,
    seed: int,
    *,
    basic: int = BASIC_ROUNDS,
    own: int = OWN_ROUNDS,
    on_round: Count = uncounted,
) -> HeldOut:
    """Play `basic` warm-up style rounds, and `own` rounds of the agent's deterministic policy against weak and strong
    each. Raises PlayerError for an agent of another game."""
    played, total = 0, basic + 2 * own
    keep_mode = agent.action_size == 4

    def count(_: Round) -> None:
        nonlocal played
        played += 1
        on_round(played, total)

    own_rounds = _own_rounds(agent, own, seed, keep_mode, count)
    others = play_warmup(basic, _chance(seed), rinks=RINKS, keep_mode=keep_mode, on_round=count)
    both = [one.episode(view, weights) for one in others for view in (0, 1)]
    mine = [one.episode(one.setup.side, weights) for one in own_rounds]
    return HeldOut({BASIC: both, OWN: mine}, {BASIC: len(others), OWN: len(own_rounds)})


def _own_rounds(agent: Dreamer, rounds: int, seed: int, keep_mode: bool, count: Callable[[Round], None]) -> list[Round]:
    starts = int(_chance(seed).integers(2**31))
    played = []
    for name in ("weak", "strong"):
        player, opponent = DreamerPlayer(agent, OWN), BasicPlayer(weak=name == "weak", keep_mode=keep_mode)
        schedule = list(paired_schedule(name, rounds, starts))
        played += play_rounds(player, opponent, schedule, rinks=RINKS, keep_mode=keep_mode, on_round=count)
    return played


def read_held_out(directory: Path, agent: Dreamer, weights: RewardWeights) -> HeldOut:
    """Read recorded rounds and matches instead; of very many, some that are spread evenly, which a note tells.

    Raises RecordingError when there are none, one is damaged or of another keep_mode, or all are too short.
    """
    episodes, found, step = _spread(load_episodes(directory, weights))
    if any((one.obs.shape[1], one.action.shape[1]) != (agent.obs_size, agent.action_size) for one in episodes):
        raise RecordingError(f"the rounds in {directory} were played on a rink with another rink.keep_mode")
    if not any(window_starts(episode) for episode in episodes):
        raise RecordingError(f"no round in {directory} is longer than the {CONTEXT} steps that a dream starts from")
    notes = [f"one in {step} of {found:,} recorded views was taken"] if step > 1 else []
    return HeldOut({RECORDED: episodes}, {RECORDED: len(episodes)}, notes)


def _spread(episodes: Iterable[Episode]) -> tuple[list[Episode], int, int]:
    """(at most MOST_VIEWS of the episodes, how many there were, the step from one that was taken to the next).

    Each thinning takes every third: rounds come in two views and matches in fours, so an even step would always
    take the same ones of them.
    """
    kept: list[Episode] = []
    step, found = 1, 0
    for episode in episodes:
        if found % step == 0:
            kept.append(episode)
        if len(kept) > MOST_VIEWS:
            kept, step = kept[::3], 3 * step
        found += 1
    return kept, found, step


def training_windows(config: Config) -> Windows:
    """The windows that a training checks its dreams with: of a few basic rounds, always the same ones."""
    chance, rink = _chance(TRAINING_SEED), config.rink.model_dump()
    rounds = play_warmup(TRAINING_ROUNDS, chance, rinks=TRAINING_ROUNDS, **rink)
    return cut_windows([one.episode(view, config.reward) for one in rounds for view in (0, 1)], dreamed=GOAL_HORIZON)


def _chance(seed: int) -> np.random.Generator:
    return np.random.default_rng((STREAM, seed))

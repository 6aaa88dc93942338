"""How long whole updates take in each precision that a training could use, on the machine that it starts on."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import numpy as np
import torch

from competitor.config import Config
from competitor.train.sizes import sizes
from dreamer import fast
from dreamer.agent import Dreamer
from dreamer.config import Precision
from dreamer.pipeline import Pipeline
from dreamer.replay import Episode, EpisodeBuffer

Clock = Callable[[], float]
Ways = Mapping[Precision, fast.Kind]

# Before anything is timed: libraries load, choose their algorithms and take their memory.
WARM_UP = {"cpu": 1, "cuda": 3}
TURN = {"cpu": 2, "cuda": 10}  # updates of one way in a row; more than one, since each overlaps the next
TURNS = 3  # of each way: the fewest of which a median leaves out a disturbed one
LONGEST_S = 3.0  # of timing; after so much no further turns begin, so that large models do not wait for long
EPISODES, STEPS = 20, 250  # rounds of the usual length in the replay that batches are drawn from


def update_seconds(config: Config, device: torch.device, ways: Ways, clock: Clock) -> dict[Precision, float]:
    """Seconds that an update takes in each of `ways` (the kernels of each precision): medians over turns.

    Agents and replay are made for this and thrown away; no generator but their own is drawn from.
    """
    with torch.random.fork_rng(), ExitStack() as pipelines:
        replay = _random_replay(config)
        learning = {precision: _pipeline(config, device, precision) for precision in ways}
        for pipeline in learning.values():
            pipelines.callback(pipeline.close)
        return _in_turns(learning, replay, ways, clock, device.type)


def _in_turns(
    learning: Mapping[Precision, Pipeline], replay: EpisodeBuffer, ways: Ways, clock: Clock, device: str
) -> dict[Precision, float]:
    for precision, pipeline in learning.items():
        _update(pipeline, replay, ways[precision], WARM_UP[device])
    taken: dict[Precision, list[float]] = {precision: [] for precision in ways}
    for turn in range(TURNS):
        if turn and sum(map(sum, taken.values())) >= LONGEST_S:
            break
        for precision, pipeline in learning.items():
            begun = clock()
            _update(pipeline, replay, ways[precision], TURN[device])
            taken[precision].append(clock() - begun)
    return {precision: statistics.median(times) / TURN[device] for precision, times in taken.items()}


def _update(pipeline: Pipeline, replay: EpisodeBuffer, kind: fast.Kind, updates: int) -> None:
    with fast.using(kind):
        for _ in range(updates):
            pipeline.train_step(replay.sample())
        pipeline.finish()


def _pipeline(config: Config, device: torch.device, precision: Precision) -> Pipeline:
    agent = Dreamer(config.dreamer, *sizes(config)).settle(device, precision)
    return Pipeline(agent, overlap=config.training.overlap)


def _random_replay(config: Config) -> EpisodeBuffer:
    """Rounds of random numbers; how long an update takes does not depend on what it learns."""
    obs_size, action_size = sizes(config)
    random = np.random.default_rng(0)
    replay = EpisodeBuffer(config.replay, obs_size, action_size, mirror=None, seed=0)
    for _ in range(EPISODES):
        obs = random.normal(size=(STEPS + 1, obs_size)).astype(np.float32)
        action = random.uniform(-1.0, 1.0, (STEPS, action_size)).astype(np.float32)
        replay.add(Episode(obs, action, np.zeros(STEPS, np.float32), terminal=True))
    return replay

"""Small agents and small memories for the tests of the mind."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dreamer.agent import Dreamer
from dreamer.config import DreamerConfig
from dreamer.pipeline import Pipeline
from dreamer.replay import Episode, EpisodeBuffer
from dreamer.speed.parallel import help_until, wake
from dreamer.update import Updater

TINY: dict[str, dict[str, Any]] = {
    "model": {
        "hidden": 16,
        "groups": 4,
        "classes": 4,
        "observed": False,
        "units": 16,
    },
    "behavior": {"starts": 8, "horizon": 5, "lookahead": 1},
    "replay": {"batch_size": 4, "sequence_length": 6},
    "optimizer": {"warmup": 0},
}


def tiny_config(**sections: dict[str, Any]) -> DreamerConfig:
    """A configuration of a few thousand weights; each argument overrides keys of one section."""
    names = TINY.keys() | sections.keys()
    return DreamerConfig.model_validate({name: TINY.get(name, {}) | sections.get(name, {}) for name in names})


def tiny_agent(**sections: dict[str, Any]) -> Dreamer:
    """An agent for 3 observed numbers and 2 actions."""
    return Dreamer(tiny_config(**sections), obs_size=3, action_size=2, seed=1)


def tiny_updater(**sections: dict[str, Any]) -> Updater:
    """What makes the updates of such an agent."""
    return Updater(tiny_agent(**sections))


def noise_episode(random: np.random.Generator, steps: int = 20, *, terminal: bool = True) -> Episode:
    """A round of pure noise."""
    obs = random.normal(size=(steps + 1, 3)).astype(np.float32)
    action = random.uniform(-1, 1, (steps, 2)).astype(np.float32)
    return Episode(obs, action, random.normal(size=steps).astype(np.float32), terminal)


def counting_episode(start: int, steps: int, *, terminal: bool = True) -> Episode:
    """A round whose numbers tell where they come from: observation t is start + t, action and reward t likewise."""
    times = start + np.arange(steps + 1, dtype=np.float32)
    obs = np.repeat(times[:, None], 3, axis=1)
    return Episode(obs, np.repeat(times[:-1, None], 2, axis=1), times[:-1].copy(), terminal)


def filled_buffer(config: DreamerConfig, episodes: int = 12, seed: int = 5) -> EpisodeBuffer:
    """A buffer of noise rounds."""
    random = np.random.default_rng(3)
    buffer = EpisodeBuffer(config.replay, 3, 2, mirror=None, seed=seed)
    for _ in range(episodes):
        buffer.add(noise_episode(random, int(random.integers(5, 30))))
    return buffer


def trained_pipeline(updates: int, **changes: dict[str, Any]) -> Pipeline:
    """A pipeline after some updates, with nothing under way."""
    pipeline = Pipeline(tiny_agent(**changes))
    buffer = filled_buffer(pipeline.agent.config)
    for _ in range(updates):
        pipeline.train_step(buffer.sample())
    pipeline.finish()
    return pipeline


def noise_source(seed: int = 11) -> torch.Generator:
    """A generator with a known seed."""
    return torch.Generator().manual_seed(seed)


@contextmanager
def helper() -> Iterator[None]:
    """A second thread that takes parts of large passes inside the with block."""
    done, threads = threading.Event(), torch.get_num_threads()

    def run() -> None:
        torch.set_num_threads(threads)  # a new thread begins with torch's own number, and sums in another order
        help_until(done.is_set)

    thread = threading.Thread(target=run, name="helper")
    thread.start()
    try:
        yield
    finally:
        done.set()
        wake()
        thread.join()


def assert_close(got: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float) -> None:
    """Both lists of tensors are equal as a whole: the norm of what differs is small against that of what is wanted.

    Entry by entry two ways to calculate the same part where rounding
    is all that is left of a sum, on each processor in another entry.
    """
    assert [one.shape for one in got] == [one.shape for one in wanted]
    ours, theirs = (torch.cat([tensor.detach().flatten().double() for tensor in many]) for many in (got, wanted))
    missed = float((ours - theirs).norm() / theirs.norm().clamp(min=1e-12))
    assert missed <= tolerance, f"they differ by {missed:.2e} of their size, {tolerance:.0e} is allowed"

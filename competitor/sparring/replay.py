"""The replay of the off-policy learners: decisions with their rewards over several steps."""

from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from competitor.rink import ACTION_MIRROR, OBS_MIRROR

Array = NDArray[np.float32]


class Transitions(NamedTuple):
    """n decisions: obs (n, 18), action (n, 4), later_obs (n, 18), and (n,) each: reward, done and discount.

    The value of later_obs counts `discount` times, and not at all where `done` is 1.
    """

    obs: Array
    action: Array
    later_obs: Array
    reward: Array
    done: Array
    discount: Array


def decisions(
    obs: Array, action: Array, reward: Array, *, terminal: bool, discount: float, repeat: int, steps: int
) -> Transitions:
    """Cut a round, obs (time + 1, 18), into decisions of `repeat` frames with rewards summed over `steps` decisions.

    `discount` is per frame. Only the last view of a round that is not terminal has a value.
    """
    time = len(action)
    begin = np.arange(0, time, repeat)
    end = np.minimum(begin + repeat * steps, time)
    powers = discount ** np.arange(time + 1, dtype=np.float64)
    sums = np.concatenate([[0.0], np.cumsum(powers[:-1] * reward)])
    return Transitions(
        obs=obs[begin],
        action=action[begin],
        later_obs=obs[end],
        reward=((sums[end] - sums[begin]) / powers[begin]).astype(np.float32),
        done=((end == time) & terminal).astype(np.float32),
        discount=powers[end - begin].astype(np.float32),
    )


class Replay:
    """A ring of transitions. Half of what is drawn is reflected up-down: the rink is symmetric."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = self._next = 0
        self._rings = Transitions(
            *(np.zeros((capacity, width), np.float32) for width in (18, 4, 18)),
            *(np.zeros(capacity, np.float32) for _ in range(3)),
        )

    def add(self, new: Transitions) -> None:
        """Take in new transitions; the oldest leave when the ring is full."""
        count = len(new.reward)
        places = (self._next + np.arange(count)) % self.capacity
        for ring, values in zip(self._rings, new, strict=True):
            ring[places] = values
        self._next = (self._next + count) % self.capacity
        self.size = min(self.size + count, self.capacity)

    def draw(self, count: int, chance: np.random.Generator) -> Transitions:
        """Draw `count` transitions with equal chance, each mirrored or not."""
        rows = chance.integers(self.size, size=count)
        drawn = Transitions(*(ring[rows] for ring in self._rings))
        mirrored = chance.random(count) < 0.5
        for views in (drawn.obs, drawn.later_obs):
            views[mirrored] *= OBS_MIRROR
        drawn.action[mirrored] *= ACTION_MIRROR
        return drawn

    def save(self, file: BinaryIO) -> None:
        order = (self._next - self.size + np.arange(self.size)) % self.capacity
        np.savez(file, **{name: ring[order] for name, ring in self._rings._asdict().items()})

    def load(self, file: BinaryIO) -> None:
        with np.load(file) as stored:
            self.add(Transitions(*(stored[name] for name in Transitions._fields)))

"""The replay: whole episodes in, contiguous sequences out.

Two ways to give a sequence its context, chosen by ``[replay] context``:

- ``stream``: every row of the batch is a lane that walks through one episode after another, window by window, so the
  latent state at the end of one window is the true context of the next (truncated backpropagation through time). The
  recurrent state is trained on what it meets in play, whole rounds, and no latent states need to be stored.
- ``zero``: every row is a random window that starts from the zero state, as in the seed document.
"""

import json
from collections import deque
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.numpy import load_file, save
from torch import Tensor

from dreamer.config import ReplayConfig
from dreamer.errors import ReplayError
from dreamer.files import atomic_write_bytes, atomic_write_text
from dreamer.strict import Strict, first_problem

Array = NDArray[np.float32]
Batch = dict[str, Tensor]
Count = Annotated[int, Field(ge=0, le=2**53)]
FRESH_SHARE, FRESH_PART = 0.5, 0.1
"""Once the learner plays, this share of the lanes' rounds is drawn from the newest tenth: a dream that flatters what
the policy has just become is corrected soon (docs/learning.md)."""


@dataclass(frozen=True)
class Episode:
    """One round from one player's side.

    obs (steps + 1, obs): from the start to the final observation. action (steps, action): taken in obs[:-1].
    reward (steps,): received on arriving in obs[1:]. terminal: the last observation ended the game for good; False
    means that it was cut off, so that the value of the last state still counts. lesson: a teacher played it, whose
    actions are worth imitating. own: the agent that learns played it, then or now, not somebody else.
    """

    obs: Array
    action: Array
    reward: Array
    terminal: bool
    lesson: bool = False
    own: bool = True

    def __len__(self) -> int:
        return len(self.obs)


@dataclass(frozen=True)
class Mirror:
    """A reflection under which the world is symmetric, as +-1 signs: obs_sign (obs,), action_sign (action,)."""

    obs_sign: Array
    action_sign: Array


@dataclass
class Lane:
    """Where one row of the batch stands: in which episode, at which entry, seen in the mirror or not."""

    serial: int
    position: int
    mirrored: bool


class GeneratorState(Strict):
    """The state of a NumPy generator as its ``bit_generator.state`` gives it, checked for type and range."""

    class Words(Strict):
        """PCG64's two numbers of 128 bits."""

        state: Annotated[int, Field(ge=0, lt=2**128)]
        inc: Annotated[int, Field(ge=0, lt=2**128)]

    bit_generator: Literal["PCG64"]
    state: Words
    has_uint32: Annotated[int, Field(ge=0, le=1)]
    uinteger: Annotated[int, Field(ge=0, lt=2**32)]


class SavedReplay(BaseModel):
    """What replay.json holds."""

    model_config = ConfigDict(strict=True)

    first_serial: Count
    random: GeneratorState
    lanes: list[tuple[Count, Count, bool] | tuple[Count, Count, bool, Any]]  # older versions say a fourth thing


class EpisodeBuffer:
    """A bounded memory of ``episodes``; the oldest stand first and leave first."""

    def __init__(
        self, config: ReplayConfig, obs_size: int, action_size: int, *, mirror: Mirror | None, seed: int
    ) -> None:
        self.config = config
        self.obs_size, self.action_size = obs_size, action_size
        self._mirror = mirror
        self._random = np.random.default_rng(seed)
        self.episodes: deque[Episode] = deque()
        self._first_serial = 0
        self._has_own = False
        self._steps = 0
        self._lanes: list[Lane] = []

    def __len__(self) -> int:
        """Stored environment steps; each player's view of a round counts."""
        return self._steps

    def add(self, episode: Episode) -> None:
        """Append an episode and drop the oldest beyond the capacity.

        Raises:
            ReplayError: shapes do not fit each other or the buffer, or a number is not finite.
        """
        self._check(episode)
        self._has_own |= episode.own
        self.episodes.append(episode)
        self._steps += len(episode.action)
        while self._steps > self.config.capacity and len(self.episodes) > 1:
            self._steps -= len(self.episodes.popleft().action)
            self._first_serial += 1

    def sample(self) -> Batch:
        """Draw the next batch of contiguous sequences.

        Returns tensors of shape (time, batch, ...): obs (obs,), action (action,) that led to obs (zero at a first
        entry), reward received with obs, and the flags is_first, is_last, is_terminal, is_lesson, is_own. Episodes
        follow each other in a row without padding; is_first marks where a state has to start anew.

        Raises:
            ReplayError: the buffer is empty.
        """
        if not self.episodes:
            raise ReplayError("the replay is empty: collect at least one round before training")
        if self.config.context == "zero" or not self._lanes:
            self._lanes = [self._enter_anywhere() for _ in range(self.config.batch_size)]
            opening = True
        else:
            opening = False
        columns = [self._walk(index, opening) for index in range(self.config.batch_size)]
        return {key: torch.from_numpy(np.stack([column[key] for column in columns], axis=1)) for key in columns[0]}

    def observations(self, count: int) -> Tensor:
        """The newest stored observations, mirrored too if mirroring is on: at most (count, obs)."""
        newest = np.concatenate([e.obs for e in islice(reversed(self.episodes), 1 + count // 50)])[:count]
        views = [newest] if self._mirror is None else [newest, newest * self._mirror.obs_sign]
        return torch.from_numpy(np.concatenate(views)[:count])

    def changes(self, count: int) -> Tensor:
        """What single steps changed in the newest stored observations: about (count, obs), mirrored ones left out."""
        newest = list(islice(reversed(self.episodes), 1 + count // 50))
        return torch.from_numpy(np.concatenate([np.diff(episode.obs, axis=0) for episode in newest])[:count])

    def _check(self, episode: Episode) -> None:
        steps = len(episode.action)
        shapes = (episode.obs.shape, episode.action.shape, episode.reward.shape)
        wanted = ((steps + 1, self.obs_size), (steps, self.action_size), (steps,))
        if steps < 1 or shapes != wanted:
            raise ReplayError(f"an episode of shapes {shapes} does not fit; expected {wanted}")
        if not all(np.isfinite(part).all() for part in (episode.obs, episode.action, episode.reward)):
            raise ReplayError("an episode with numbers that are not finite was refused")

    def _enter(self) -> Lane:
        """The beginning of a round: any one, or one of the newest."""
        is_fresh = self._has_own and self._random.random() < FRESH_SHARE
        return self._drawn(int((1.0 - FRESH_PART) * len(self.episodes)) if is_fresh else 0)

    def _drawn(self, first: int = 0, position: int = 0) -> Lane:
        index = int(self._random.integers(first, len(self.episodes)))
        mirrored = self._mirror is not None and bool(self._random.integers(2))
        return Lane(self._first_serial + index, position, mirrored)

    def _enter_anywhere(self) -> Lane:
        """Long episodes are as likely as their share of steps: draw until a step index fits."""
        longest = max(len(e) for e in islice(self.episodes, 0, None, max(1, len(self.episodes) // 100)))
        while True:
            lane = self._drawn(position=int(self._random.integers(longest)))
            if lane.position < len(self.episodes[lane.serial - self._first_serial]):
                return lane

    def _walk(self, index: int, opening: bool) -> dict[str, NDArray[Any]]:
        """Read one window from lane ``index``, moving on to further episodes where one ends."""
        length, parts, filled = self.config.sequence_length, [], 0
        while filled < length:
            lane = self._lanes[index]
            if lane.serial < self._first_serial:
                lane = self._lanes[index] = self._enter()
            episode = self.episodes[lane.serial - self._first_serial]
            part = self._slice(episode, lane, length - filled, first=opening and filled == 0)
            parts.append(part)
            filled += len(part["reward"])
            lane.position += len(part["reward"])
            if lane.position >= len(episode):
                self._lanes[index] = self._enter()
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _slice(self, episode: Episode, lane: Lane, length: int, *, first: bool) -> dict[str, NDArray[Any]]:
        start, stop = lane.position, min(lane.position + length, len(episode))
        obs = episode.obs[start:stop]
        action = np.zeros((stop - start, self.action_size), np.float32)
        reward = np.zeros(stop - start, np.float32)
        skip = int(start == 0)  # nothing led to the first observation
        action[skip:] = episode.action[start + skip - 1 : stop - 1]
        reward[skip:] = episode.reward[start + skip - 1 : stop - 1]
        if lane.mirrored and self._mirror is not None:
            obs, action = obs * self._mirror.obs_sign, action * self._mirror.action_sign
        is_first, is_last = np.zeros((2, stop - start), bool)
        is_first[0] = first or start == 0
        is_last[-1] = stop == len(episode)
        flags = {"is_first": is_first, "is_last": is_last, "is_terminal": is_last & episode.terminal}
        flags |= {"is_lesson": np.full(stop - start, episode.lesson), "is_own": np.full(stop - start, episode.own)}
        return {"obs": obs, "action": action, "reward": reward, **flags}

    def save(self, directory: Path) -> None:
        """Write contents, sampling generator and lanes; raises OSError when the disk is full."""
        directory.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[Any]] = {
            "obs": _join([e.obs for e in self.episodes], (0, self.obs_size)),
            "action": _join([e.action for e in self.episodes], (0, self.action_size)),
            "reward": _join([e.reward for e in self.episodes], (0,)),
            "steps": np.array([len(e.action) for e in self.episodes], np.int64),
            "terminal": np.array([e.terminal for e in self.episodes], bool),
            "lesson": np.array([e.lesson for e in self.episodes], bool),
            "own": np.array([e.own for e in self.episodes], bool),
        }
        atomic_write_bytes(directory / "replay.safetensors", save(arrays))
        state = {
            "first_serial": self._first_serial,
            "random": self._random.bit_generator.state,
            "lanes": [[lane.serial, lane.position, lane.mirrored] for lane in self._lanes],
        }
        atomic_write_text(directory / "replay.json", json.dumps(state))

    @classmethod
    def load(
        cls, directory: Path, config: ReplayConfig, obs_size: int, action_size: int, *, mirror: Mirror | None
    ) -> "EpisodeBuffer":
        """Read back what ``save`` wrote; the next batches are those that the saved buffer would have drawn.

        Raises:
            ReplayError: files are missing, damaged or of other sizes.
        """
        buffer = cls(config, obs_size, action_size, mirror=mirror, seed=0)
        try:
            arrays = load_file(directory / "replay.safetensors")
            state = SavedReplay.model_validate_json((directory / "replay.json").read_bytes())
            for episode in _split(arrays):
                buffer.add(episode)
            buffer._first_serial += state.first_serial
            buffer._random.bit_generator.state = state.random.model_dump()
            lanes = [Lane(*entry[:3]) for entry in state.lanes]
            if any(lane.serial >= buffer._first_serial + len(buffer.episodes) for lane in lanes):
                raise ValueError("a lane stands in an episode that is not there")
        except ReplayError:
            raise
        except ValidationError as error:
            raise ReplayError(f"{directory / 'replay.json'} cannot be read: {first_problem(error)}") from error
        except Exception as error:  # safetensors raises its own types; all mean the same to the user
            raise ReplayError(f"the replay in {directory} cannot be read: {error}") from error
        buffer._lanes = lanes if len(lanes) == config.batch_size else []
        return buffer


def _join(parts: list[Array], empty: tuple[int, ...]) -> Array:
    return np.concatenate(parts) if parts else np.zeros(empty, np.float32)


def _split(arrays: dict[str, NDArray[Any]]) -> list[Episode]:
    """Copies, so that dropping an old episode later really frees its memory."""
    ends = np.cumsum(arrays["steps"])
    lesson = arrays.get("lesson", np.zeros(len(ends), bool))  # before there were lessons
    own = arrays.get("own", np.ones(len(ends), bool))  # versions up to 0.3 did not tell
    episodes = []
    for index, (end, steps) in enumerate(zip(ends, arrays["steps"], strict=True)):
        start = end - steps
        obs = arrays["obs"][start + index : end + index + 1].copy()
        action, reward = arrays["action"][start:end].copy(), arrays["reward"][start:end].copy()
        flags = bool(arrays["terminal"][index]), bool(lesson[index]), bool(own[index])
        episodes.append(Episode(obs, action, reward, *flags))
    return episodes

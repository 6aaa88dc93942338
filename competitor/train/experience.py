"""Rounds recorded earlier, in matches or by `evaluate --record`, as experience for a training."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from competitor.config import Config
from competitor.errors import RecordingError
from competitor.play.recording import load_episodes
from competitor.play.sizes import sizes
from dreamer.replay import Episode


def load_experience(directories: Sequence[Path], config: Config) -> list[Episode]:
    """Return the episodes recorded in `directories`, as `config` rewards them and as many as its replay holds.

    Directory after directory, in each by the names of the files, which for matches is their order in time; what
    the replay cannot hold is left out from the front. Raises RecordingError when a directory holds nothing to
    learn from, a file cannot be read, or was made on a rink with another keep_mode.
    """
    kept: deque[Episode] = deque()
    steps = 0
    for episode in _episodes(directories, config):
        kept.append(episode)
        steps += len(episode.action)
        while steps > config.replay.capacity and len(kept) > 1:
            steps -= len(kept.popleft().action)
    return list(kept)


def _episodes(directories: Sequence[Path], config: Config) -> Iterator[Episode]:
    wanted = sizes(config)
    for directory in directories:
        count = 0
        for episode in load_episodes(directory, config.reward):
            count += 1
            if (episode.obs.shape[1], episode.action.shape[1]) != wanted:
                raise RecordingError(f"the rounds in {directory} were played on a rink with another rink.keep_mode")
            yield episode
        if not count:
            raise RecordingError(f"no match in {directory} has a round to learn from")

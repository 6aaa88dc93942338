"""A training is begun or taken up: everything is checked and read, and the run is held for this process."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from competitor.config import Config
from competitor.errors import RecordingError
from competitor.play.recording import load_episodes
from competitor.play.sizes import sizes
from competitor.train.metrics import METRICS_NAME, count_damaged
from competitor.train.opening import read_start, try_players, without_prelude
from competitor.train.placement import Placement, choose_placement, read_placement
from competitor.train.roster import listed_players
from competitor.train.run_directory import RunDirectory, storage
from competitor.train.savepoint import TrainingState, new_state, read_state
from dreamer.replay import Episode


@dataclass
class Started:
    """A training that is ready to go on.

    held: what lets go of the run when it is closed. recorded: rounds that are to join the replay. newer_settings:
    those that the run's own file does not know.
    """

    config: Config
    run: RunDirectory
    state: TrainingState
    placement: Placement
    held: ExitStack
    recorded: Sequence[Episode]
    is_resumed: bool = False
    newer_settings: Sequence[str] = ()

    def notes(self) -> list[str]:
        """What the user should know before it goes on, line by line."""
        lines = [self.placement.line]
        if self.newer_settings:
            names = ", ".join(self.newer_settings)
            lines.append(f"the run is older than these settings, which take their defaults: {names}")
        if self.recorded:
            steps = sum(len(episode.action) for episode in self.recorded)
            lines.append(f"{len(self.recorded):,} views of recorded rounds ({steps:,} steps) go into the replay")
        damaged = count_damaged(self.run.path) if self.is_resumed else 0
        if damaged:
            lines.append(f"{damaged} damaged or foreign lines of {self.run.path / METRICS_NAME} are left out")
        return lines


def begin(config: Config, path: Path, preset: str, records: Sequence[Path], start_from: str | None) -> Started:
    """Make the run directory `path`; see `Trainer.start`."""
    start = None if start_from is None else read_start(start_from, config)
    config = config if start is None else without_prelude(config)
    recorded = load_experience(records, config)
    try_players(config)
    listed = listed_players(config)
    placement = choose_placement(config)
    run = RunDirectory.create(path, config, preset=preset, start=start)
    with ExitStack() as held:
        with storage(path):
            held.enter_context(run.sole_writer())
            placement.write(path)
        return Started(config, run, new_state(config, run, listed, placement), placement, held.pop_all(), recorded)


def take_up(path: Path, overrides: Sequence[str], records: Sequence[Path]) -> Started:
    """Read the run at `path` and its last save, with settings changed by `overrides`; see `Trainer.resume`."""
    run = RunDirectory.open(path)
    with ExitStack() as held:
        with storage(path):
            held.enter_context(run.sole_writer())
        config = run.config(overrides)
        recorded = load_experience(records, config)
        save, before = run.saves.current(), read_placement(path)
        placement = choose_placement(config, before)
        if save is None:
            state = new_state(config, run, listed_players(config), placement)
        else:
            state = read_state(save, config, run, placement)
        newer = run.newer_settings()
        run.write_config(config)
        if placement.device != before.device:  # else the file keeps its reason
            with storage(path):
                placement.write(path)
        return Started(config, run, state, placement, held.pop_all(), recorded, True, newer)


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
    for directory in directories:
        count = 0
        for episode in load_episodes(directory, config.reward):
            count += 1
            if (episode.obs.shape[1], episode.action.shape[1]) != sizes(config):
                raise RecordingError(f"the rounds in {directory} were played on a rink with another rink.keep_mode")
            yield episode
        if not count:
            raise RecordingError(f"no match in {directory} has a round to learn from")

"""Self-play training: loops 1 to 3 of the seed document over many rinks at once.

    warm-up rounds and lessons -> scale of the inputs -> prelude: the world from these rounds, imitation
    -> [play one step on every rink -> make the updates it earned] ... -> consolidation

Recorded rounds, where they are given, join the replay before the first update. Between two steps of play, on
schedules counted in environment steps: evaluation against the basic opponents, examinations for the league, and,
counted in minutes, saves of everything that `--resume` needs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path

from competitor.config import SELF, Config
from competitor.errors import ConfigError
from competitor.play.rounds import RoundRunner
from competitor.rink import Mode
from competitor.train.judge import Judge
from competitor.train.metrics import MetricsWriter
from competitor.train.opening import play_opening
from competitor.train.report import OnProgress, Outcome, Reporter
from competitor.train.run_directory import storage
from competitor.train.savepoint import write_state
from competitor.train.starting import Started, begin, take_up
from competitor.train.timing import Clock, Speed, Stopwatch
from competitor.train.update_log import UpdateLog
from dreamer.checkpoint import save_checkpoint

DREAM_EVERY_UPDATES = 2_000
"""Of the prelude: its lines show how sharp the dream has become, by which `training.prelude_updates` can be chosen."""
CONSOLIDATION = 0.05
"""Last share of a training in which nobody enters the league any more and the learner meets everybody in it alike."""


class StoppedInWarmUp(Exception):  # noqa: N818, it is no error
    """The user has asked to end before there is anything to save."""


class Trainer(AbstractContextManager["Trainer"]):
    """One training of one run. Make it with `start` or `resume`, then call `train` once.

    It holds the run for this process alone until `train` has ended or `close` is called.
    The clock decides only when to save, when to stop and what is displayed: never what is learned, but that the last
    part of a training with a limit of minutes consolidates.
    """

    def __init__(self, started: Started, clock: Clock = time.monotonic) -> None:
        config, run, state = started.config, started.run, started.state
        self.config, self.run, self.state, self.placement = config, run, state, started.placement
        self.recorded, self.notes = started.recorded, started.notes
        self._held, self._resumed, self._clock = started.held, started.is_resumed, clock
        self._steps_per_update = config.replay.batch_size * config.replay.sequence_length
        self._stop_requested = False
        limit_s = 60.0 * config.training.minutes
        self._watch = Stopwatch(clock, before_s=state.counters.seconds, limit_s=limit_s)
        self._reporter = Reporter(config, run, state, self._watch, clock)
        self._updates = UpdateLog(run, state, self._reporter)
        self._judge = Judge(config, run, state, self._reporter)
        self._saved_at = clock()

    @classmethod
    def start(
        cls,
        config: Config,
        path: Path,
        *,
        preset: str = "default",
        records: Sequence[Path] = (),
        start_from: str | None = None,
        clock: Clock = time.monotonic,
    ) -> Trainer:
        """Make the run directory `path` and a training that has not begun.

        records: directories of recorded rounds to learn from too. start_from: a checkpoint whose weights it begins
        with, without a prelude. Raises RecordingError when one of the directories cannot be used, PlayerError when an
        opponent of the league cannot, CheckpointError when `start_from` cannot, ConfigError when its sizes differ,
        `path` exists or a GPU that is wished for does not, StorageError when it cannot be written, EngineError.
        """
        return cls(begin(config, path, preset, records, start_from), clock)

    @classmethod
    def resume(
        cls, path: Path, overrides: Sequence[str] = (), *, records: Sequence[Path] = (), clock: Clock = time.monotonic
    ) -> Trainer:
        """Continue the run at `path`, with settings changed by `overrides` (as for --set).

        records: as for `start`. Raises ResumeError when it is no run, when its save is damaged, or when a setting
        would change that cannot; BusyError when another process trains it; ConfigError for a wrong override,
        RecordingError like `start`.
        """
        return cls(take_up(path, overrides, records), clock)

    def close(self) -> None:
        """End the thread of the updates and let go of the run; what has not been saved is lost."""
        try:
            self.state.pipeline.close()
        finally:
            self._held.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> None:
        """Ask `train` to end after the current update, saving everything. Safe in a signal handler.

        During the warm-up it ends before the next step, with nothing to save: `resume` begins the warm-up anew.
        """
        self._stop_requested = True

    def train(self, on_progress: OnProgress | None = None) -> Outcome:
        """Train until a limit is reached or `stop` is called.

        Raises DivergenceError when updates stay non-finite, StorageError when a file cannot be written.
        """
        self._reporter.on_progress = on_progress
        self._watch.begin()
        self._saved_at = self._clock()
        with self:
            reason = self._train()
        counters, seconds, left = self.state.counters, self._watch.total_s, self.run.saves.leftovers()
        counts = counters.environment_steps, self.state.agent.updates, counters.rounds
        return Outcome(reason, self.run.path, *counts, seconds, left, is_saved=self.state.runner is not None)

    def _train(self) -> str:
        counters = self.state.counters
        position = (counters.environment_steps, self.state.agent.updates) if self._resumed else None
        if position and self.state.runner is None:
            position = (-1, -1)  # it begins anew, and so does its record
        with storage(self.run.path), self._open_record(position) as writer:
            if self.state.runner is None:
                cuda = float(self.placement.device == "cuda")  # kernels change no result
                writer.write("start", {"environment_steps": 0, "updates": 0, "seconds": 0.0}, {"cuda": cuda})
            try:
                runner = self.state.runner or self._warm_up()
            except StoppedInWarmUp:
                return "stopped"
            self._take_recorded()
            self._prelude(writer)
            reason = self._loop(runner, writer)
            self.save()
        return reason

    def _open_record(self, resumed_at: tuple[int, int] | None) -> MetricsWriter:
        try:
            return MetricsWriter(self.run.path, resumed_at=resumed_at, wandb=self.config.run.logger == "wandb")
        except ConfigError:  # wandb does not begin
            if not self._resumed:
                self.run.discard()
            raise

    def save(self) -> None:
        """Write a save for --resume and checkpoints/latest; remove snapshots that nobody needs any more."""
        self.state.pipeline.finish()
        self.state.counters.seconds = self._watch.total_s
        self.run.save(lambda directory: write_state(directory, self.state))
        save_checkpoint(self.run.checkpoints / "latest", self.state.pipeline.averaged, self._reporter.card())
        members = {member.name for member in self.state.league.members}
        self.run.remove_snapshots(keep=members | set(self.state.roster.past))
        self._saved_at = self._clock()

    def _loop(self, runner: RoundRunner, writer: MetricsWriter) -> str:
        while True:
            self._make_updates(writer)
            reason = self._reason_to_end()
            if reason:
                return reason
            self._keep_schedules(runner, writer)
            self._collect(runner)
            self._reporter.show("training")

    def _reason_to_end(self) -> str:
        if self._stop_requested:
            return "stopped"
        if self.state.counters.environment_steps >= self.config.training.environment_steps:
            return "steps"
        return "minutes" if self._watch.left_s == 0.0 else ""

    def _warm_up(self) -> RoundRunner:
        """Fill the replay with rounds between basic opponents and fix the scale of the inputs by them."""
        state, config = self.state, self.config
        total, done = config.training.warmup_rounds + config.training.lesson_rounds, count(1)
        self._reporter.show("warm-up", 0, total)
        play_opening(
            state,
            config,
            on_round=lambda played: self._reporter.show("warm-up", next(done), total),
            on_step=self._end_warm_up_if_asked,
        )
        if self.run.start is None:  # else the scale is part of the weights
            whole = 2 * len(state.replay)
            state.agent.fit_normalizer(state.replay.observations(whole), state.replay.changes(whole))
        state.pipeline.begin_anew()
        runner = state.open_runner(config)
        self._reporter.speed = Speed(self._clock)  # that of the warm-up is no measure of training
        self.save()
        return runner

    def _end_warm_up_if_asked(self) -> None:
        if self._stop_requested:
            raise StoppedInWarmUp

    def _prelude(self, writer: MetricsWriter) -> None:
        """Learn from the warm-up alone, before the first step of play."""
        state = self.state
        total = self.config.training.prelude_updates
        while state.agent.updates < total and not self._stop_requested:
            if self._watch.left_s == 0.0:
                return
            self._updates.take(state.pipeline.train_prelude(state.replay.sample()), writer)
            if state.agent.updates % DREAM_EVERY_UPDATES == 0:
                state.pipeline.finish()
                self._reporter.log_dream(writer, self._judge.check_dream())
            self._reporter.show("prelude", state.agent.updates, total)
            self._save_now_and_then()
        state.pipeline.finish()
        if state.counters.environment_steps == state.counters.warmup_steps:  # else a resumed run plays on as it did
            state.pipeline.refresh_player()

    def _take_recorded(self) -> None:
        """Put the recorded rounds into the replay, once, and save: a run cut short from here on has them."""
        if self.recorded:
            for episode in self.recorded:
                self.state.replay.add(episode)
            self.recorded = ()
            self.save()

    def _collect(self, runner: RoundRunner) -> None:
        """Loop 1: one step on every rink; finished rounds go into the replay from both sides."""
        counters = self.state.counters
        counters.environment_steps += runner.active
        counters.credit += runner.active * self.config.training.train_ratio / self._steps_per_update
        for played in runner.step():
            counters.rounds += 1
            for view in (0, 1):
                own = view == played.setup.side or played.setup.opponent == SELF
                self.state.replay.add(played.episode(view, self.config.reward, own=own))
            self.state.averages.add({"round/steps": played.steps})
            if played.setup.mode is Mode.NORMAL:
                own_start = played.setup.one_starting == (played.setup.side == 0)
                self.state.league.record(played.setup.opponent, played.result, own_start=own_start)
                listed = self.state.league.listed_as(played.setup.opponent)
                self.state.averages.add({f"result/{listed}": played.result})

    def _make_updates(self, writer: MetricsWriter) -> None:
        """Loops 2 and 3, as often as the steps collected so far have earned."""
        while self.state.counters.credit >= 1.0 and not self._stop_requested and self._watch.left_s != 0.0:
            self.state.counters.credit -= 1.0
            self._updates.take(self.state.pipeline.train_step(self.state.replay.sample()), writer)
            self._reporter.show("training")

    def _keep_schedules(self, runner: RoundRunner, writer: MetricsWriter) -> None:
        """Everything that is due between two steps of play, in an order that a resumed run repeats."""
        state, counters = self.state, self.state.counters
        state.matchmaker.consolidates = self._left_share <= CONSOLIDATION
        if counters.environment_steps >= counters.next_snapshot:
            counters.next_snapshot = counters.environment_steps + self.config.league.snapshot_every_steps
            self._examine()
        if counters.environment_steps >= counters.next_evaluation:
            counters.next_evaluation = counters.environment_steps + self.config.training.evaluate_every_steps
            self._judge.evaluate(writer)
        if state.matchmaker.redraw_is_due:
            state.matchmaker.redraw(played.setup.opponent for played in runner.running_rounds())
        self._save_now_and_then()

    def _save_now_and_then(self) -> None:
        if self._clock() - self._saved_at >= 60.0 * self.config.training.checkpoint_every_minutes:
            self.save()

    @property
    def _left_share(self) -> float:
        """What is left of the training until the limit of steps or of this start's minutes, 1 to 0."""
        steps = self.state.counters.environment_steps / self.config.training.environment_steps
        return min(1.0 - steps, self._watch.left_share)

    def _examine(self) -> None:
        """Take the learner into the league if it has earned it. Files of members that leave go after the next save."""
        demands = self.config.league.entry_basic, self.config.league.entry_newest
        if self.state.matchmaker.consolidates or not self.state.league.is_examined(*demands):
            return
        self.state.pipeline.finish()
        name = f"step-{self.state.counters.environment_steps:09d}"
        save_checkpoint(self.run.league / name, self.state.pipeline.averaged, self._reporter.card())
        self.state.league.add(name, self.state.counters.environment_steps)

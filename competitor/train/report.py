"""What a training says of itself: lines of the record, cards of checkpoints, the status on the display."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from competitor.config import Config
from competitor.evaluate.evaluation import EvaluationReport
from competitor.evaluate.gauntlet import Gauntlet
from competitor.inspect.dream_check import DreamReport
from competitor.system import code_version, command_line
from competitor.train.facts import Counters
from competitor.train.league import League
from competitor.train.metrics import MetricsWriter
from competitor.train.run_directory import RunDirectory
from competitor.train.savepoint import TrainingState
from competitor.train.timing import Clock, Speed, Stopwatch
from dreamer.checkpoint import read_card


@dataclass(frozen=True)
class Status:
    """How a training stands, for the display; counters, speed and league go on. `seconds_left`: None while unknown.

    done, total: how much of the phase has been done, in its own unit (rounds, in the prelude updates); total is 0 for
    the phase "training", whose extent is environment_steps_limit.
    """

    phase: str
    done: int
    total: int
    counters: Counters
    environment_steps_limit: int
    updates: int
    replay_steps: int
    seconds: float
    seconds_left: float | None
    speed: Speed
    league: League
    metrics: dict[str, float]
    evaluation: dict[str, float]
    warning: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a call of `Trainer.train` ended: "steps" or "minutes" (a limit was reached) or "stopped".

    leftovers: old saves that could not be removed. is_saved: False when it was stopped during the warm-up.
    """

    reason: str
    run: Path
    environment_steps: int
    updates: int
    rounds: int
    seconds: float
    leftovers: list[Path] = field(default_factory=list)
    is_saved: bool = True

    def lines(self, *, interrupted: bool) -> list[str]:
        """What to tell the user at the end."""
        ended = "interrupted" if interrupted else "finished"
        if not self.is_saved:
            again = f"nothing is saved yet; begin the warm-up anew with: {self.resume_command}"
            return [f"{ended} during the warm-up", again]
        lines = [f"{ended} after {self.environment_steps:,} environment steps, {self.updates:,} updates"]
        if self.leftovers:
            names = ", ".join(map(str, self.leftovers))
            lines.append(f"old saves that could not be deleted and are no longer needed: {names}")
        return [*lines, f"all is saved in {self.run}; continue with: {self.resume_command}"]

    @property
    def resume_command(self) -> str:
        """The command that continues this run; at the limit of steps it raises the limit."""
        more = ["--set", f"training.environment_steps={2 * self.environment_steps}"] if self.reason == "steps" else []
        return command_line("train", "--resume", self.run, *more)


OnProgress = Callable[[Status], None]


class Reporter:
    """Reads a training's state and tells it; it changes nothing but the averages, which start anew with a line."""

    def __init__(self, config: Config, run: RunDirectory, state: TrainingState, watch: Stopwatch, clock: Clock) -> None:
        self._limits, self._state = config.training, state
        self._origin: dict[str, Any] = {"preset": run.preset, "reward": config.reward.model_dump()}
        if run.start is not None:
            self._origin["started_from"] = read_card(run.start)["sha256"]
        self._watch, self.speed = watch, Speed(clock)
        self._metrics: dict[str, float] = {}
        self._evaluation: dict[str, float] = {}
        self.on_progress: OnProgress | None = None
        self.warning = ""

    def log(self, writer: MetricsWriter) -> None:
        """Write the means since the last line, and the counters."""
        state = self._state
        self._metrics = state.averages.take()
        line = dict(self._metrics)
        for name, record in state.league.opponents.items():
            line[f"win_rate/{name}"] = record.win_rate
            line[f"rounds/{name}"] = record.games
            line[f"own_start/{name}"], line[f"other_start/{name}"] = record.own_start, record.other_start
        line |= {
            "rounds": state.counters.rounds,
            "replay_steps": len(state.replay),
            "skipped_updates": state.counters.skipped,
            "rating": state.league.rating,
            "members": len(state.league.members),
            "steps_per_s": self.speed.steps_per_s,
            "updates_per_s": self.speed.updates_per_s,
        }
        writer.write("train", self._position(), line)

    def log_evaluation(
        self, writer: MetricsWriter, report: EvaluationReport, dream: DreamReport, gauntlet: Gauntlet | None = None
    ) -> dict[str, float]:
        """Write the result of an evaluation and how well the model dreams; returns what was written."""
        self._evaluation = evaluation_metrics(report) | dream_metrics(dream) | gauntlet_metrics(gauntlet)
        writer.write("evaluation", self._position(), self._evaluation)
        return self._evaluation

    def log_dream(self, writer: MetricsWriter, dream: DreamReport) -> None:
        writer.write("prelude", self._position(), dream_metrics(dream))

    def _position(self) -> dict[str, Any]:
        counters = self._state.counters
        return {
            "environment_steps": counters.environment_steps,
            "updates": self._state.agent.updates,
            "seconds": round(self._watch.total_s, 1),
        }

    def card(self) -> dict[str, Any]:
        """What a checkpoint tells about where it comes from."""
        counters = self._state.counters
        return {
            **self._origin,
            "environment_steps": counters.environment_steps,
            "rounds": counters.rounds,
            "training_seconds": round(self._watch.total_s, 1),
            "code_version": code_version(),
            "saved_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def show(self, phase: str, done: int = 0, total: int = 0) -> None:
        """Hand the present status to the display; for `done` and `total` see `Status`."""
        state, counters = self._state, self._state.counters
        self.speed.update(counters.environment_steps, state.agent.updates)
        if self.on_progress is None:
            return
        self.on_progress(
            Status(
                phase=phase,
                done=done,
                total=total,
                counters=counters,
                environment_steps_limit=self._limits.environment_steps,
                updates=state.agent.updates,
                replay_steps=len(state.replay),
                seconds=self._watch.total_s,
                seconds_left=self._seconds_left(),
                speed=self.speed,
                league=state.league,
                metrics=self._metrics,
                evaluation=self._evaluation,
                warning=self.warning,
            )
        )

    def _seconds_left(self) -> float | None:
        estimates = [] if self._watch.left_s is None else [self._watch.left_s]
        if self.speed.steps_per_s > 0:
            steps = self._limits.environment_steps - self._state.counters.environment_steps
            estimates.append(max(0.0, steps / self.speed.steps_per_s))
        return min(estimates, default=None)


def evaluation_metrics(report: EvaluationReport) -> dict[str, float]:
    """What is logged of an evaluation; `score` is the mean over the opponents, a draw half a point."""
    metrics = {"score": sum(result.score for result in report.results) / max(1, len(report.results))}
    for result in report.results:
        rounds = max(1, result.rounds)
        rates = {"win_rate": result.win_rate, "score": result.score}
        rates |= {"draws": result.draws / rounds, "losses": result.losses / rounds}
        rates |= {"rounds": result.rounds, "steps": result.mean_steps}
        metrics |= {f"{result.opponent}/{name}": value for name, value in rates.items()}
    return metrics


def gauntlet_metrics(gauntlet: Gauntlet | None) -> dict[str, float]:
    """What is logged of the points taken from the sparring partners; without one, nothing."""
    if gauntlet is None:
        return {}
    names = ("points", "held_out_points", "worst_points", "own_start", "other_start")
    values = {f"gauntlet/{name}": getattr(gauntlet, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def dream_metrics(report: DreamReport) -> dict[str, float]:
    """What is logged of the dreams; the writer leaves out what could not be measured."""
    return {
        "dream/own_h15": report.errors["own"][15],
        "dream/puck_h7": report.errors["puck"][7],
        "dream/puck_h15": report.errors["puck"][15],
        "dream/goals_seen": report.goals_seen,
        "dream/false_alarms": report.false_alarms,
        "dream/return_bias": report.return_bias,
    }

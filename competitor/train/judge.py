"""Judging the learner while it trains: rounds against the basic opponents, its dreams, its best weights."""

from collections.abc import Mapping
from dataclasses import asdict

from competitor.config import Config
from competitor.evaluate.evaluation import EvaluationReport, evaluate
from competitor.evaluate.gauntlet import GAUNTLET, Gauntlet, gauntlet_of, with_gauntlet
from competitor.inspect.dream_check import REPORTED, DreamReport, Windows, check_dream
from competitor.inspect.held_out import training_windows
from competitor.players import BasicPlayer, DreamerPlayer, Player, make_player
from competitor.players.sparring import partner_names
from competitor.train.league import BASIC
from competitor.train.metrics import MetricsWriter
from competitor.train.report import Reporter
from competitor.train.run_directory import RunDirectory
from competitor.train.savepoint import TrainingState
from dreamer.checkpoint import save_checkpoint

SELECTION_SEED = 80_121_973
"""Of the rounds that choose `checkpoints/best`: its own, so that `evaluate` does not judge it by the rounds it won."""
GAUNTLET_EVERY = 5  # evaluations: it takes as long as they do together
GAUNTLET_ROUNDS = 40  # per partner; the error of the mean over 15 of them is 0.02


class Judge:
    """Judges the averaged weights of one training. No chance of the training is spent on it."""

    def __init__(self, config: Config, run: RunDirectory, state: TrainingState, reporter: Reporter) -> None:
        self._config, self._run, self._state, self._reporter = config, run, state, reporter
        self._windows: Windows | None = None

    def evaluate(self, writer: MetricsWriter) -> None:
        """Play against weak and strong, dream, write a line, and keep the weights as the best if they are."""
        self._state.pipeline.finish()
        keep_mode = self._config.rink.keep_mode
        report = self._play(
            {name: BasicPlayer(weak=name == "weak", keep_mode=keep_mode) for name in BASIC},
            self._config.training.evaluate_rounds,
        )
        self._state.counters.evaluations += 1
        gauntlet = None if self._state.counters.evaluations % GAUNTLET_EVERY else self._run_the_gauntlet()
        written = self._reporter.log_evaluation(writer, report, self.check_dream(), gauntlet)
        self._keep_best(report, written["score"])

    def _run_the_gauntlet(self) -> Gauntlet | None:
        """Play against all sparring partners that ship; None where there are none for this rink."""
        if not (self._config.rink.keep_mode and partner_names()):
            return None
        partners = {name: make_player(name, seed=SELECTION_SEED) for name in with_gauntlet([GAUNTLET])}
        return gauntlet_of(self._play(partners, GAUNTLET_ROUNDS).results)

    def check_dream(self) -> DreamReport:
        """Dream through a few held-out rounds, always the same ones."""
        if self._windows is None:
            self._windows = training_windows(self._config)
        world, discount = self._state.pipeline.averaged.on_cpu().world_model, self._config.behavior.discount
        return check_dream(world, self._windows, discount=discount, horizons=REPORTED)

    def _play(self, opponents: Mapping[str, Player], rounds: int) -> EvaluationReport:
        return evaluate(
            DreamerPlayer(self._state.pipeline.averaged.on_cpu(), "learner", deterministic=True),
            opponents,
            rounds=rounds,
            seed=SELECTION_SEED,
            **self._config.rink.model_dump(),
            stops_early=False,
            on_progress=lambda done, total: self._reporter.show("evaluation", done, total),
        )

    def _keep_best(self, report: EvaluationReport, score: float) -> None:
        counters = self._state.counters
        if counters.best_score is None or score > counters.best_score:
            counters.best_score, counters.best_steps = score, counters.environment_steps
            card = self._reporter.card() | {"results": [asdict(result) for result in report.results]}
            save_checkpoint(self._run.checkpoints / "best", self._state.pipeline.averaged, card)

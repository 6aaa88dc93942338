"""Updates as they are counted and recorded, and what is noticed when learning goes wrong."""

from competitor.train.metrics import MetricsWriter
from competitor.train.report import Reporter
from competitor.train.run_directory import RunDirectory
from competitor.train.savepoint import TrainingState
from dreamer.errors import DivergenceError

LOG_EVERY_UPDATES = 25
MOST_SKIPPED_IN_A_ROW = 20
COLLAPSED_KL = 0.1
"""Nats per step below which the latent state says next to nothing. The champion's run had 5 to 11 nats from its first
line on; runs with a Gaussian latent whose KL fell to 0.02 to 0.07 by update 125 stayed there and did not learn."""
COLLAPSED_UPDATES = 500
"""In a row: at the very beginning the KL is small as well, for as long as the rates warm up."""


class UpdateLog:
    """Takes the metrics of every update of one training."""

    def __init__(self, run: RunDirectory, state: TrainingState, reporter: Reporter) -> None:
        self._run, self._state, self._reporter = run, state, reporter

    def take(self, metrics: dict[str, float], writer: MetricsWriter) -> None:
        """Count and record an update. Raises DivergenceError when too many in a row were not finite."""
        self._count_skipped(bool(metrics["skipped"]))
        self._watch_kl(metrics.get("kl"))
        self._state.averages.add(metrics)
        if self._state.agent.updates % LOG_EVERY_UPDATES == 0:
            self._reporter.log(writer)

    def _count_skipped(self, skipped: bool) -> None:
        counters = self._state.counters
        counters.skipped += skipped
        counters.skipped_in_a_row = counters.skipped_in_a_row + 1 if skipped else 0
        if counters.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise DivergenceError(
                f"training has diverged: {MOST_SKIPPED_IN_A_ROW} updates in a row were not finite and were "
                f"left out; the last save is kept: continue with --resume {self._run.path} and lower learning "
                "rates (--set optimizer.world_rate=...), or start a new run"
            )

    def _watch_kl(self, kl: float | None) -> None:
        counters = self._state.counters
        if kl is not None:
            counters.low_kl_in_a_row = counters.low_kl_in_a_row + 1 if kl < COLLAPSED_KL else 0
        collapsed = counters.low_kl_in_a_row >= COLLAPSED_UPDATES
        self._reporter.warning = (
            f"the KL has stayed below {COLLAPSED_KL} nats for {counters.low_kl_in_a_row:,} updates: the latent state "
            "carries nothing of what is seen (lower loss.kl_representation)"
            if collapsed
            else ""
        )

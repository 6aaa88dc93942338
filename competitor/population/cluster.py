"""The same turns as tasks of a Ray cluster (extra `cluster`) whose machines share the population's directory."""

from __future__ import annotations

import importlib
import importlib.util
import os
from concurrent.futures import Future
from typing import Any

from competitor.errors import EXIT_INTERRUPTED, PackageError, UnreachableError, missing_extra
from competitor.population.workers import LOST, Turn, run_turn

LOCAL = "local"


class RayWorkers:
    """Tasks of a cluster, each with a processor of its own.

    address: of the cluster; "local" makes one on this machine. Raises PackageError without Ray, UnreachableError for a
    cluster that is not there.
    """

    def __init__(self, address: str, count: int) -> None:
        if importlib.util.find_spec("ray") is None:
            raise PackageError(missing_extra("--ray", "cluster"))
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of a population unasked
        self._ray: Any = importlib.import_module("ray")
        self.count = count
        more = {"num_cpus": count, "include_dashboard": False} if address == LOCAL else {}
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level="error", **more)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UnreachableError(f"the Ray cluster {address} cannot be reached: {error}") from None
        # A turn that is lost is not repeated by Ray: the population begins it anew from the learner's last save.
        self._task = self._ray.remote(num_cpus=1, max_retries=0)(run_turn)
        self._running: list[Any] = []

    def submit(self, turn: Turn) -> Future[int]:
        """Run a turn; the future is its exit code."""
        reference = self._task.remote(turn)
        self._running.append(reference)
        code: Future[int] = Future()
        reference.future().add_done_callback(lambda done: code.set_result(self._code(reference, done)))
        return code

    def _code(self, reference: Any, done: Future[int]) -> int:
        """A task that was cancelled has saved; one whose worker has died has not."""
        self._running.remove(reference)
        error = done.exception()
        if error is None:
            return done.result()
        return EXIT_INTERRUPTED if isinstance(error, self._ray.exceptions.TaskCancelledError) else LOST

    def stop(self) -> None:
        """Ask every turn to save and end; a second call does no more."""
        for reference in self._running:
            self._ray.cancel(reference, force=False)

    def close(self) -> None:
        """Wait until all have ended, then leave the cluster."""
        self._ray.wait(self._running, num_returns=len(self._running)) if self._running else None
        self._ray.shutdown()

"""The same turns as tasks of a Ray cluster (extra `cluster`) whose machines share the population's directory."""

import importlib
import os
import re
import socket
from typing import Any

from competitor.errors import EXIT_INTERRUPTED, UnreachableError, needing
from competitor.population.workers import LOST, Turn, Workers, run_turn

LOCAL = "local"
REACH_S = 10.0


class RayWorkers(Workers):
    """Tasks of a cluster, each with a processor of its own.

    address: of the cluster; "local" makes one on this machine. Raises PackageError without Ray, UnreachableError for a
    cluster that is not there.
    """

    def __init__(self, address: str, count: int) -> None:
        super().__init__(count)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of a population unasked
        with needing("--ray", "cluster"):
            self._ray: Any = importlib.import_module("ray")
        _check_answers(address)
        more = {"num_cpus": count, "include_dashboard": False} if address == LOCAL else {}
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level="error", **more)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UnreachableError(f"the Ray cluster {address} cannot be reached: {error}") from None
        # A turn that is lost is not repeated by Ray: the population begins it anew from the learner's last save.
        self._task = self._ray.remote(num_cpus=1, max_retries=0)(run_turn)
        self._tasks: dict[str, Any] = {}

    def _run(self, turn: Turn) -> int:
        self._tasks[turn.learner] = task = self._task.remote(turn)
        if self._stopped:
            self._ray.cancel(task)
        try:
            return int(self._ray.get(task))
        except self._ray.exceptions.TaskCancelledError:  # it has saved
            return EXIT_INTERRUPTED
        except self._ray.exceptions.RayError:
            return LOST
        finally:
            del self._tasks[turn.learner]

    def stop(self) -> None:
        """Ask every turn to save and end; a second call does no more."""
        self._stopped = True
        for task in list(self._tasks.values()):
            self._ray.cancel(task)

    def close(self) -> None:
        """Wait until all have ended, then leave the cluster."""
        super().close()
        self._ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise UnreachableError where nobody listens: Ray itself goes on trying for many minutes."""
    found = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d{1,5})", address)
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=REACH_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise UnreachableError(f"the Ray cluster {address} cannot be reached: {error}") from None

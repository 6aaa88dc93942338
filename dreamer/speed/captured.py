"""Updates on a GPU: the first few one operation after the other, then all as one captured CUDA graph.

An update is thousands of small operations, and starting each one from Python takes longer than the work itself. A
graph is recorded once and starts them all at once; what may stand in it is in dreamer/speed/static_update.py.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Generator, Tensor

from dreamer.agent import Dreamer
from dreamer.replay import Batch
from dreamer.speed.static_update import StaticUpdate

WARM_UPS = 3  # updates before the capture, in which libraries choose their algorithms and take their memory
log = logging.getLogger(__name__)

Work = Callable[[], Tensor]


class Graphs(Protocol):
    """What can capture work; CUDA in earnest, a stand-in in tests."""

    def warm_up(self, work: Work) -> Tensor:
        """Do the work as it will be captured, and return what it returns."""

    def capture(self, work: Work, generators: Sequence[Generator]) -> Work:
        """Record the work without doing it; the result does it, with chance from ``generators``.

        Raises RuntimeError when the work holds something that cannot be recorded.
        """


class CudaGraphs:
    """Captures on a side stream of the current CUDA device, as torch asks for it."""

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def warm_up(self, work: Work) -> Tensor:
        """Do the work on the side stream, after what was asked for before and before what comes after."""
        present = torch.cuda.current_stream()
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            result = work()
        present.wait_stream(self._stream)
        return result

    def capture(self, work: Work, generators: Sequence[Generator]) -> Work:
        """Record the work; its result lies in the same tensor after each replay."""
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        # A capture that fails leaves its stream current; the block around it puts the present one back.
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph, stream=self._stream):
            result = work()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


class CapturedUpdate:
    """``Dreamer.train_step`` by static updates: ``WARM_UPS`` of them at once, the others from a graph.

    Every call of ``start`` makes exactly one update; ``finish`` waits for it. graphs: None captures nothing.
    """

    def __init__(self, agent: Dreamer, graphs: Graphs | None) -> None:
        self.agent, self._graphs = agent, graphs
        self._static: StaticUpdate | None = None
        self._warm_ups = 0
        self._replay: Work | None = None
        self._running: Tensor | None = None

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One update from start to end; metrics as of ``Dreamer``."""
        self.start(batch)
        metrics = self.finish()
        assert metrics is not None
        return metrics

    def start(self, batch: Batch) -> None:
        """Begin an update on sequences (time, batch, ...), always of the same shape, and wait for nothing.

        Other than in ``Dreamer.train_step``, an update that is skipped has drawn its numbers for the dream as well.
        """
        assert self._running is None, "the update before has to be finished first"
        # Made here and not earlier: loading a save puts other tensors into agent and optimisers.
        static = self._static = self._static or StaticUpdate(self.agent, batch)
        static.load(batch)
        self._running = self._run(static)
        self.agent.updates += 1

    def finish(self) -> dict[str, float] | None:
        """Wait for the update that was started last; its metrics, or None if that has been done before."""
        if self._static is None or self._running is None:
            return None
        numbers, self._running = self._running.tolist(), None
        metrics: dict[str, float] = dict(zip(self._static.names, numbers, strict=True))
        world, behavior = metrics.pop("sound/world"), metrics.pop("sound/behavior")
        self.agent.world_learner.steps += int(world)
        self.agent.behavior_learner.steps += int(behavior)
        return metrics | {"skipped": 1.0 - behavior}

    def _run(self, static: StaticUpdate) -> Tensor:
        if self._graphs is None:
            return static()
        if self._replay is None and self._warm_ups < WARM_UPS:
            self._warm_ups += 1
            return self._graphs.warm_up(static)
        if self._replay is None:
            self._replay = self._capture(self._graphs, static)
        return self._replay()

    def _capture(self, graphs: Graphs, static: StaticUpdate) -> Work:
        """The graph of the update or, where there can be none, the update itself."""
        agent = self.agent
        generators = agent.learning_generator, agent.dreaming_generator
        states = [generator.get_state() for generator in generators]
        try:
            return graphs.capture(static, generators)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            log.warning("no CUDA graph, so updates take longer: the update cannot be captured (%s)", reason)
        # A generator that was part of a broken capture refuses to work.
        agent.learning_generator, agent.dreaming_generator = (
            _continued(one, state) for one, state in zip(generators, states, strict=True)
        )
        return static


def _continued(generator: Generator, state: Tensor) -> Generator:
    twin = Generator(generator.device)
    twin.set_state(state)
    return twin

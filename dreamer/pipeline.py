"""Updates on two cores: the world model learns in the calling thread, the behaviour beside it in a second one.

    caller    world 1 | play | world 2, help | play | world 3, help | ...
    second            | behaviour 1          | behaviour 2          | ...

Behaviour k dreams with a copy of the weights that world k left behind, so the updates are exactly those of
``Updater.train_step``, whatever the threads' speed; only their metrics arrive one call later. Meanwhile play goes on
with ``player``: the world model after update k and the behaviour after k - 1, also whatever the speed. While the caller
waits for the behaviour it helps with its large passes (dreamer/speed/parallel.py).

``averaged`` is what to judge and to keep: a running mean of the weights (dreamer/averaging.py).
"""

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from dreamer.agent import Dreamer
from dreamer.averaging import WeightAverage
from dreamer.fast import speed
from dreamer.files import atomic_write_bytes, atomic_write_text
from dreamer.replay import Batch
from dreamer.sequence_model import State
from dreamer.update import Result, Updater


class Pipeline:
    """Updates of one agent, overlapped or, without ``overlap`` or on a GPU, one part after the other.

    Call ``finish`` before the agent is read, saved or evaluated; play with ``player``, which shares its generator.
    """

    def __init__(self, agent: Dreamer, *, overlap: bool = True) -> None:
        self.agent, self.overlap = agent, overlap and agent.device.type == "cpu"
        self.updater = Updater(agent)
        self.player = agent.snapshot() if self.overlap else agent
        self.player.generator = agent.generator
        self._played, self._learned = (
            [*_tensors(one.world_model), *_tensors(one.behavior.policy)] for one in (self.player, agent)
        )
        share = agent.config.optimizer.average_share
        self._average = WeightAverage(agent, share) if share else None
        # A new thread would get torch's own number of threads, not the one chosen for this program.
        threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(1, "behaviour", initializer=torch.set_num_threads, initargs=(threads,))
        self._running: Future[Result] | None = None
        self._last: dict[str, float] = {"skipped": 0.0}

    @property
    def averaged(self) -> Dreamer:
        """The agent with averaged weights, or the agent itself where none are kept; call ``finish`` before."""
        if self._average is None:
            return self.agent
        self._average.agent.updates = self.agent.updates
        return self._average.agent

    def train_prelude(self, batch: Batch) -> dict[str, float]:
        """``train_step`` of the prelude, see ``Updater``."""
        if self.overlap:
            return self._overlap(batch, self.updater.imitate)
        metrics = self.updater.train_prelude(batch)
        self._take_average()
        return metrics

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Update k of the world model, and metrics of it and of the behaviour's update k - 1."""
        if self.overlap:
            return self._overlap(batch, self._improve)
        metrics = self.updater.train_step(batch)
        self._take_average()
        return metrics

    def _overlap(self, batch: Batch, behave: Callable[[Batch, State], Result]) -> dict[str, float]:
        sound, posteriors, metrics = self.updater.update_world(batch)
        self.finish()
        self.agent.updates += 1
        self._take_average()
        self.refresh_player()
        if sound:
            self._running = self._pool.submit(behave, batch, posteriors)
            if speed():
                self._running.add_done_callback(lambda _: speed().wake())
        skipped = max(float(not sound), self._last["skipped"])
        reported = self._last | {key: float(value) for key, value in metrics.items()} | {"skipped": skipped}
        if not sound:  # then no behaviour follows whose metrics would take the place of these
            self._last = {"skipped": 0.0}
        return reported

    def finish(self) -> None:
        """Wait for the behaviour's update under way, and help; what it raised is raised here."""
        if self._running is not None:
            running, self._running = self._running, None
            if speed():
                speed().help_until(running.done)
            sound, metrics = running.result()
            self._last = {key: float(value) for key, value in metrics.items()} | {"skipped": float(not sound)}

    def begin_anew(self) -> None:
        """The agent was changed from outside: player and average are what it is now."""
        self.refresh_player()
        if self._average is not None:
            self._average.agent.load_state_dict(self.agent.state_dict())

    @torch.no_grad()
    def refresh_player(self) -> None:
        """Give the player what the agent knows now; after updates that were not overlapped."""
        if self.overlap:
            torch._foreach_copy_(self._played, self._learned)

    def save(self, directory: Path) -> None:
        """Write what player, average and the next metrics depend on, after ``finish``; raises OSError."""
        atomic_write_text(directory / "player.json", json.dumps(self._last))
        for name, agent in self._copies():
            weights = {key: value.contiguous().cpu() for key, value in agent.state_dict().items()}
            atomic_write_bytes(directory / name, tensor_bytes(weights))

    def load(self, directory: Path) -> None:
        """Read what ``save`` wrote; where it did not write a copy, that begins with the agent's weights of now."""
        self.refresh_player()
        if (directory / "player.json").exists():
            self._last = _numbers(directory / "player.json")
        for name, agent in self._copies():
            if (directory / name).exists():
                weights = load_file(directory / name)
                if not all(torch.isfinite(weight).all() for weight in weights.values()):
                    raise ValueError(f"{name}: some weights are not finite")
                own = agent.state_dict()
                if any(weight.dtype != own[key].dtype for key, weight in weights.items() if key in own):
                    raise ValueError(f"{name}: some weights are of another type")
                agent.load_weights(weights)

    def _copies(self) -> list[tuple[str, Dreamer]]:
        """The agents beside the one that learns, by the names of their files."""
        copies = [("playing.safetensors", self.player)] if self.overlap else []
        return copies + ([] if self._average is None else [("average.safetensors", self._average.agent)])

    def close(self) -> None:
        """Finish and end the thread."""
        self.finish()
        self._pool.shutdown()

    def _take_average(self) -> None:
        if self._average is not None:
            self._average.update()

    def _improve(self, batch: Batch, posteriors: State) -> Result:
        # The player's world model is a copy that rests until the next `finish`; both threads only read it.
        return self.updater.update_behavior(batch, posteriors, self.player.world_model)


def _numbers(file: Path) -> dict[str, float]:
    """The metrics in ``file``; raises ValueError where it holds something else."""
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file.name} is not JSON") from error
    values = found.values() if isinstance(found, dict) and "skipped" in found else [None]
    if not all(type(value) in (int, float) for value in values):
        raise ValueError(f"{file.name} does not hold the metrics of an update")
    return {key: float(value) for key, value in found.items()}


def _tensors(module: torch.nn.Module) -> list[Tensor]:
    """Its weights and buffers, which stay where they are."""
    return list(module.state_dict().values())

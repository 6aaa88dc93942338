"""One whole update as a CUDA graph needs it: on tensors that stay where they are, in shapes that never change.

Nothing is read back on the way, so nothing is decided by Python: an update that is not finite is made and undone on
the device. Otherwise it is ``Dreamer.train_step`` with the plain modules, and it runs on a CPU as well
(tests/dreamer/speed/test_static_update.py compares the two).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dreamer.agent import Dreamer
from dreamer.optimizer import Learner, clip_factors
from dreamer.replay import Batch
from dreamer.sequence_model import State
from dreamer.speed import kernels

# How the optimisers call their memory: number of steps, mean of gradients, mean of squared gradients.
MEMORY = {"laprop": ("count", "mean", "square"), "adam": ("step", "exp_avg", "exp_avg_sq")}


class DeviceStep:
    """Steps what a ``Learner`` holds as ``Learner.apply`` does, with all numbers that change on the device.

    Weights and the optimiser's memory are the learner's own, so its checkpoints hold them. All parameters share one
    count of steps.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner, self._config = learner, learner.config
        self._count = torch.full((), float(learner.steps), device=learner.parameters[0].device)
        groups = learner.optimizer.param_groups
        self._rates = {parameter: float(group["rate"]) for group in groups for parameter in group["params"]}

    @torch.no_grad()
    def apply(self, loss: Tensor, wanted: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(whether the step stands, global gradient norm before clipping), scalars on the device.

        The step stands if loss and gradients are finite and ``wanted`` (a flag, True if None) says so; otherwise
        weights and memory are what they were.
        """
        parameters, gradients = self._gradients(loss)
        norms = torch.stack(torch._foreach_norm(gradients))
        norm = torch.linalg.vector_norm(norms)
        sound = torch.isfinite(loss) & torch.isfinite(norm)
        if wanted is not None:
            sound = sound & wanted
        if self._config.clip:
            factors = clip_factors(list(parameters), norms, self._config.clip)
            gradients = [gradient * factor for gradient, factor in zip(gradients, factors, strict=True)]
        means, squares = self._memory(parameters)
        changing = [self._count, *parameters, *means, *squares]
        before = copies(changing)
        self._step(parameters, gradients, means, squares)
        undo_unless(sound, changing, before)
        return sound, norm

    def _gradients(self, loss: Tensor) -> tuple[list[nn.Parameter], list[Tensor]]:
        """The parameters that the loss depends on, and its gradients there."""
        parameters = self._learner.parameters
        found = zip(parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True)
        reached = [(parameter, gradient) for parameter, gradient in found if gradient is not None]
        return [parameter for parameter, _ in reached], [gradient for _, gradient in reached]

    def _memory(self, parameters: list[nn.Parameter]) -> tuple[list[Tensor], list[Tensor]]:
        """(means, squares) of the parameters, zeros at first."""
        count, mean, square = MEMORY[self._config.kind]
        states = [self._learner.optimizer.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if mean not in state:
                state[mean], state[square] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state[count] = self._count
        return [state[mean] for state in states], [state[square] for state in states]

    def _step(
        self, parameters: list[nn.Parameter], gradients: list[Tensor], means: list[Tensor], squares: list[Tensor]
    ) -> None:
        """LaProp normalises the gradients before their mean is taken, Adam the mean."""
        c, laprop = self._config, self._config.kind == "laprop"
        self._count += 1.0
        torch._foreach_mul_(squares, c.beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - c.beta2)
        scale = torch._foreach_div(squares, self._correction(c.beta2))
        torch._foreach_sqrt_(scale)
        torch._foreach_add_(scale, c.epsilon)
        added = torch._foreach_div(gradients, scale) if laprop else gradients
        torch._foreach_lerp_(means, added, 1.0 - c.beta1)
        moves = means if laprop else torch._foreach_div(means, scale)
        moves = torch._foreach_mul(moves, self._warmth() / self._correction(c.beta1))
        torch._foreach_mul_(moves, [self._rates[parameter] for parameter in parameters])
        torch._foreach_sub_(list[Tensor](parameters), moves)

    def _correction(self, beta: float) -> Tensor:
        """1 - beta^steps: what is missing in a mean that began at zero."""
        return (1.0 - torch.pow(beta, self._count.double())).float()

    def _warmth(self) -> Tensor:
        """The share of the learning rates in this step, which rises from 0 to 1 and then falls: as in Learner."""
        warmup, decay_after = self._config.warmup, self._learner.decay_after
        share = (self._count / warmup).clamp(max=1.0) if warmup else torch.ones_like(self._count)
        return share * (decay_after / self._count).clamp(max=1.0) if decay_after else share


class StaticUpdate:
    """All updates of one agent: ``load`` a batch, then call; ``names`` are those of the numbers it gives."""

    def __init__(self, agent: Dreamer, batch: Batch) -> None:
        """batch: any one of the shapes that will come; its numbers are not used."""
        self.agent = agent
        self.names: list[str] = []
        self._batch = {key: torch.empty_like(value, device=agent.device) for key, value in batch.items()}
        # Copies from pinned memory do not make the host wait.
        is_cuda = agent.device.type == "cuda"
        self._host = {key: torch.empty_like(value, pin_memory=True) for key, value in batch.items() if is_cuda}
        self._streams = agent.config.replay.context == "stream"
        self._context = agent.context or agent.world_model.dynamics.initial(batch["obs"].shape[1])
        self._world, self._behavior = DeviceStep(agent.world_learner), DeviceStep(agent.behavior_learner)

    def load(self, batch: Batch) -> None:
        """Copy a batch (see EpisodeBuffer.sample) to where the update reads it."""
        for key, value in batch.items():
            assert value.shape == self._batch[key].shape, f"a static update cannot take {key} of another shape"
            if self._host:
                value = self._host[key].copy_(value)
            self._batch[key].copy_(value, non_blocking=True)

    def __call__(self) -> Tensor:
        """One update: its metrics (names,), and ``sound/world`` and ``sound/behavior``, 0 where a part was undone."""
        with kernels.plainly():
            sound, posteriors, metrics = self._learn_world()
            metrics |= {"sound/world": sound} | self._learn_behavior(sound, posteriors)
        self.names = list(metrics)
        return torch.stack([value.detach().float() for value in metrics.values()])

    def _learn_world(self) -> tuple[Tensor, State, dict[str, Tensor]]:
        agent = self.agent
        loss, posteriors, metrics = agent.world_loss(self._batch, self._context)
        sound, norm = self._world.apply(loss)
        posteriors = {key: value.detach() for key, value in posteriors.items()}
        if self._streams:
            agent.context = self._context
            for key, table in self._context.items():
                table.copy_(torch.where(sound, posteriors[key][-1], table))
        return sound, posteriors, metrics | {"grad/world": norm}

    def _learn_behavior(self, wanted: Tensor, posteriors: State) -> dict[str, Tensor]:
        agent, behavior = self.agent, self.agent.behavior
        world, settings, generator = agent.world_model, agent.config.behavior, agent.dreaming_generator
        changing = [behavior.return_scale.low, behavior.return_scale.high, *behavior.value_target.parameters()]
        before = copies(changing)
        start = world.get_fixed_starts(posteriors, self._batch, settings.starts // settings.siblings, generator)
        loss, metrics = agent.behavior_loss(self._batch, posteriors, world, start)
        sound, norm = self._behavior.apply(loss, wanted)
        behavior.update_slow_value()
        undo_unless(sound, changing, before)
        return metrics | {"grad/behavior": norm, "sound/behavior": sound}


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """What the tensors hold now."""
    return [tensor.detach().clone() for tensor in tensors]


@torch.no_grad()
def undo_unless(sound: Tensor, tensors: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    """Put ``before`` back into the tensors where the flag ``sound`` is False; nothing is read back for it."""
    for tensor, old in zip(tensors, before, strict=True):
        tensor.copy_(torch.where(sound, tensor, old))

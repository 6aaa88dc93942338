"""One step of play from tensors to tensors, compiled: the same numbers as Dreamer.act, in about half the time."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from competitor.engine.session import ACTION_SIZE, OBS_SIZE
from dreamer.agent import FEWEST_ROWS, Dreamer

Step = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]
"""h, z, previous action, obs, is_first -> next h, next z, action, which rows are sound; all (batch, ...)."""

log = logging.getLogger("competitor.daemon")
_programs: dict[str, nn.Module] = {}


def play_step(agent: Dreamer, *, deterministic: bool) -> Step:
    """The step of a frozen `agent`, which does not change any more.

    Networks this small spend half of their time between their operations, in Python; a traced program has none there.
    Samples come from a generator that a trace would lose, so that a policy that samples is not traced.
    """
    step = PlayStep(agent, deterministic=deterministic).eval()
    if not deterministic:
        return _padding(step)
    try:
        with torch.no_grad():
            return _padding(_traced(agent, step))
    except (AttributeError, RuntimeError) as error:  # TorchScript may leave torch one day
        log.warning("playing without a compiled network: %s", error)
        return _padding(step)


class PlayStep(nn.Module):
    """Dreamer.act, and whether each row can be trusted."""

    def __init__(self, agent: Dreamer, *, deterministic: bool) -> None:
        super().__init__()
        self.agent, self.deterministic = agent, deterministic
        self._logits = _watched(agent)

    def forward(
        self, h: Tensor, z: Tensor, previous: Tensor, obs: Tensor, is_first: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See Step; the batch has FEWEST_ROWS or more."""
        state = {"h": h, "z": z, "action": previous}
        state, action = self.agent.act(state, obs, is_first, deterministic=self.deterministic)
        return state["h"], state["z"], action, _finite_rows([*state.values(), *self._logits.values()])


def _traced(agent: Dreamer, step: PlayStep) -> Step:
    """`step` as a program of its own. Torch never frees what it has compiled, so agents of one kind share that."""
    kind = agent.config.model_dump_json()
    if kind not in _programs:
        _programs[kind] = _trace(agent, step)
    program = copy.deepcopy(_programs[kind])
    theirs = _tensors(step)
    for name, tensor in _tensors(program).items():
        tensor.data = theirs[name].data  # not a copy: the same memory
    return cast(Step, program)


def _trace(agent: Dreamer, step: PlayStep) -> nn.Module:
    state, rows = agent.initial_state(2 * FEWEST_ROWS), 2 * FEWEST_ROWS
    example = (state["h"], state["z"], torch.zeros(rows, ACTION_SIZE), torch.zeros(rows, OBS_SIZE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(step, (*example, torch.zeros(rows, dtype=torch.bool)), check_trace=False)
    return cast(nn.Module, traced)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _padding(program: Step) -> Step:
    """`program` for batches of any size: a trace has no branch for the small ones, which Dreamer.act fills up."""

    def step(*tables: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = len(tables[0])
        missing = FEWEST_ROWS - rows
        if missing <= 0:
            return program(*tables)
        padded = [torch.cat([table, table.new_zeros(missing, *table.shape[1:])]) for table in tables]
        h, z, action, is_sound = program(*padded)
        return h[:rows], z[:rows], action[:rows], is_sound[:rows]

    return step


def _watched(agent: Dreamer) -> dict[str, Tensor]:
    """Return a dictionary that always holds what the latent and the action were last chosen from.

    A choice among classes is made from NaN as well, and what comes of it looks as finite as any other.
    """
    seen: dict[str, Tensor] = {}

    def watch(name: str, network: nn.Module) -> None:
        network.register_forward_hook(lambda module, inputs, output: seen.update({name: output}))

    watch("latent", agent.world_model.dynamics.posterior_net)
    watch("action", agent.behavior.policy.net)
    return seen


def _finite_rows(tables: list[Tensor]) -> Tensor:
    """Return which rows of all tables are finite; a sum is finite only if its terms are."""
    return torch.isfinite(torch.stack([table.sum(dim=1) for table in tables])).all(dim=0)

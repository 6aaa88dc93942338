"""A deterministic step of play as a function of arrays, and how far it lies from the agent that it was made from."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from competitor.play.rounds import Round, RoundSetup, play_rounds
from competitor.players import BasicPlayer, DreamerPlayer
from competitor.screen import Count
from dreamer.agent import Dreamer
from dreamer.fast import plainly

Array = NDArray[np.float32]
Arrays = dict[str, Array]
Run = Callable[[Array, NDArray[np.bool_], Arrays], Arrays]
"""obs (batch, obs), is_first (batch,) and a state -> the next state, whose `action` (batch, action) is the answer."""
EXAMPLE_ROWS = 2
"""Of the batch that is traced; its size stays free."""
CLOSE = 1e-3
"""Actions lie in [-1, 1], and other orders of adding up give differences of some 1e-5."""
SEED = 1


class Step(nn.Module):
    """What is exported: `Dreamer.play_together` without chance, its state a list of tensors in the order of `keys`."""

    def __init__(self, agent: Dreamer) -> None:
        super().__init__()
        self.agent = agent.on_cpu()
        self.keys = list(agent.initial_state(1))

    def forward(self, obs: Tensor, is_first: Tensor, state: list[Tensor]) -> list[Tensor]:
        """The next state, see `Run`."""
        after, _ = self.agent.play_together(dict(zip(self.keys, state, strict=True)), obs, is_first, None)
        return [after[key] for key in self.keys]

    def example(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        state = self.agent.initial_state(EXAMPLE_ROWS)
        obs = torch.zeros(EXAMPLE_ROWS, self.agent.obs_size)
        return obs, torch.zeros(EXAMPLE_ROWS, dtype=torch.bool), list(state.values())

    def free_sizes(self) -> tuple[dict[int, object], dict[int, object], list[dict[int, object]]]:
        """The number of rows is free in every argument of `forward`."""
        rows: dict[int, object] = {0: torch.export.Dim("rows")}
        return rows, rows, [rows] * len(self.keys)


@contextmanager
def tracing() -> Iterator[None]:
    """Within it the modules run as written, and torch's warnings about its own inner parts are not shown."""
    with plainly(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class Comparison:
    """How far the actions of an exported step lie from the agent's. differing: steps further away than CLOSE."""

    rounds: int
    steps: int
    largest: float
    differing: int


def play_to_compare(agent: Dreamer, rounds: int, on_round: Count) -> list[Round]:
    """Whole rounds of the agent against the strong opponent."""
    done = count(1)
    setups = [RoundSetup(one_starting=number % 2 == 0, seed=SEED + number // 2) for number in range(rounds)]
    keep_mode = agent.action_size == 4
    player, opponent = DreamerPlayer(agent, "agent"), BasicPlayer(weak=False, keep_mode=keep_mode)
    rinks = min(rounds, 8)

    def counted(_: Round) -> None:
        on_round(next(done), rounds)

    return play_rounds(player, opponent, setups, rinks=rinks, keep_mode=keep_mode, on_round=counted)


@torch.inference_mode()
def compare(run: Run, agent: Dreamer, rounds: list[Round]) -> Comparison:
    """Let the exported step live through the rounds, with a state of its own, and compare what it answers.

    Where it differs it goes on from the agent's state: of two classes that are as likely either may be drawn, and what
    follows from that is no difference of its own.
    """
    distances = []
    for played in rounds:
        theirs = agent.initial_state(1)
        state = {key: table.numpy() for key, table in theirs.items()}
        for step in range(played.steps):
            obs, is_first = played.obs[0, step : step + 1], np.array([step == 0])
            theirs, action = agent.act(theirs, torch.from_numpy(obs), torch.from_numpy(is_first), deterministic=True)
            state = run(obs, is_first, state)
            distances.append(float(np.abs(state["action"] - action.numpy()).max()))
            if not distances[-1] <= CLOSE:
                state = {key: theirs[key].numpy().copy() for key in state}
    far = sum(not distance <= CLOSE for distance in distances)
    return Comparison(len(rounds), len(distances), float(np.max(distances)), far)

"""How noisy the actor's gradient is, and which steps of a dream tell it anything.

Dreams on, with the checkpoint's own world model, policy and critic, from states of rounds that it plays against weak
and strong, and takes the gradient of one batch of dreams after the other, without changing a weight:

- siblings: what sharing chance takes from the deviation of a dream's credit, and from the noise of the gradient;
- steps: the gain along the mean gradient of some steps of the dream that the gradients of others bring. Steps that
  know something agree;
- lambda: the same between returns of other lambdas and those of the settings. A small one trusts the critic.

Gains come with their standard error; direction and gain are taken from different batches.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import torch
from rich.progress import track
from torch import Generator, Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import report
from competitor.config import load_config
from competitor.inspect.held_out import OWN, play_held_out
from competitor.options import FILE, JSON
from competitor.play.rounds import RewardWeights
from competitor.screen import Table
from dreamer.agent import Dreamer
from dreamer.behavior import shared_luck
from dreamer.checkpoint import load_checkpoint
from dreamer.math_ops import lambda_returns
from dreamer.replay import Episode
from dreamer.sequence_model import State, carried, features

ROUNDS = 200  # against weak and against strong, each
SIBLINGS = (1, 2, 4, 8)
EDGES = (0, 5, 10, 15)
LAMBDAS = (1.0, 0.95, 0.9, 0.8, 0.6, 0.3, 0.0)
Gradients = dict[Any, Tensor]
"""Of each kind, batch for batch: (batches, weights)."""


class Dreams:
    """Batches of dreams of a frozen agent, from random states of real rounds."""

    def __init__(self, agent: Dreamer, episodes: Sequence[Episode], seed: int) -> None:
        self._agent, self._generator = agent.requires_grad_(False), Generator().manual_seed(seed)
        self._policy = list(agent.behavior.policy.requires_grad_(True).parameters())
        states = [self._filtered(episode) for episode in episodes]
        self._states = {key: torch.cat([state[key] for state in states]) for key in states[0]}

    @torch.no_grad()
    def _filtered(self, episode: Episode) -> State:
        """States (steps, ...) of a round, all but the last."""
        world = self._agent.world_model
        obs, action = torch.from_numpy(episode.obs)[:, None], torch.from_numpy(episode.action)[:, None]
        is_first = torch.arange(len(obs))[:, None] == 0
        led = torch.cat([torch.zeros_like(action[:1]), action])
        posteriors, _ = world.observe_sequence(obs, led, is_first, None, self._generator)
        return {key: part[:-1, 0] for key, part in carried(posteriors).items()}

    def draw(self, siblings: int, lambdas: Sequence[float]) -> tuple[Tensor, dict[float, Tensor]]:
        """(log probabilities of the actions, weighted advantages by lambda) of a batch, each (horizon, dreams)."""
        agent, settings = self._agent, self._agent.config.behavior
        places = torch.randint(len(self._states["h"]), (settings.starts // siblings,), generator=self._generator)
        start = {key: table[places] for key, table in self._states.items()}
        states, actions, rewards, continues = agent.world_model.imagine(
            agent.behavior.policy, start, settings.horizon, self._generator, siblings
        )
        seen, gamma = features(states), settings.discount
        with torch.no_grad():
            values = agent.behavior.value.mean(agent.behavior.value(seen))
            weights = torch.cumprod(torch.cat([torch.ones_like(continues[:1]), continues[:-1]]), 0)
            given = rewards, values[:-1], continues, values[-1], gamma
            advantages = {one: weights * (lambda_returns(*given, one) - values[:-1]) for one in lambdas}
        return agent.behavior.policy(seen[:-1]).log_prob(actions), advantages

    def gradient(self, log_probs: Tensor, credit: Tensor) -> Tensor:
        """Of the policy's weights, flat; the graph stays for the next one."""
        parts = torch.autograd.grad(-(log_probs * credit).mean(), self._policy, retain_graph=True)
        return torch.cat([part.flatten() for part in parts])


def noise(gradients: Tensor) -> float:
    """Root mean square of gradients (batches, weights) around their mean."""
    return float((gradients - gradients.mean(0)).square().sum(1).mean().sqrt())


def gain(direction: Tensor, gradients: Tensor) -> tuple[float, float]:
    """(mean, standard error) of gradients along the mean of ``direction``, both (batches, weights).

    Each half of the batches is measured along the mean of the other half, so that noise does not meet itself.
    """
    one, two = direction[::2].mean(0), direction[1::2].mean(0)
    along = torch.cat([gradients[1::2] @ (one / one.norm()), gradients[::2] @ (two / two.norm())])
    return float(along.mean()), float(along.std() / len(along) ** 0.5)


def measure_siblings(dreams: Dreams, batches: int, lambda_: float) -> list[dict[str, float]]:
    """Deviation of the credit and noise of the gradient by number of siblings, with the shared luck taken away."""
    results = []
    for siblings in SIBLINGS:
        gradients, deviations = [], []
        for _ in track(range(batches), f"{siblings} siblings", transient=True):
            log_probs, advantages = dreams.draw(siblings, [lambda_])
            credit = advantages[lambda_]
            if siblings > 1:
                credit = credit - shared_luck(credit, siblings)
            gradients.append(dreams.gradient(log_probs, credit))
            deviations.append(credit.square().mean(1).sqrt())
        by_step = torch.stack(deviations).mean(0)
        results.append(
            {
                "siblings": siblings,
                "first_step": float(by_step[0]),
                "middle_step": float(by_step[len(by_step) // 2]),
                "last_step": float(by_step[-1]),
                "noise": noise(torch.stack(gradients)),
            }
        )
    return results


def measure_agreement(dreams: Dreams, batches: int, lambda_: float) -> tuple[list[dict[str, Any]], ...]:
    """(steps against steps, lambdas against the settings' lambda): gains of gradients along each other's means."""
    of_steps: dict[Any, list[Tensor]] = {span: [] for span in pairwise(EDGES)}
    of_lambda: dict[Any, list[Tensor]] = {one: [] for one in LAMBDAS}
    for _ in track(range(batches), "steps and lambdas", transient=True):
        log_probs, advantages = dreams.draw(2, [*LAMBDAS, lambda_])
        credit = {one: advantage - shared_luck(advantage, 2) for one, advantage in advantages.items()}
        for span, kept in of_steps.items():
            kept.append(dreams.gradient(log_probs[slice(*span)], credit[lambda_][slice(*span)]))
        for one, kept in of_lambda.items():
            kept.append(dreams.gradient(log_probs, credit[one]))
    steps: Gradients = {span: torch.stack(kept) for span, kept in of_steps.items()}
    lambdas: Gradients = {one: torch.stack(kept) for one, kept in of_lambda.items()}
    return gains(steps, steps), gains(lambdas, {lambda_: lambdas[lambda_]})


def gains(directions: Gradients, gradients: Gradients) -> list[dict[str, Any]]:
    """Every kind of gradient along the mean of every kind of direction, its own included."""
    return [
        {"along": one, "of": two, "gain": gain(direction, others)}
        for one, direction in directions.items()
        for two, others in ({one: direction} | gradients).items()
    ]


def tables(results: dict[str, Any]) -> Iterator[Table]:
    """The three tables."""
    columns = ("siblings", "credit, first step", "middle", "last", "noise of the gradient")
    yield Table(columns, [[f"{value:.3g}" for value in one.values()] for one in results["siblings"]])
    for name, found in (("steps", results["steps"]), ("lambda", results["lambdas"])):
        rows = [(str(row["along"]), str(row["of"]), *(f"{value:+.4f}" for value in row["gain"])) for row in found]
        yield Table((f"along the mean of {name}", "gain of", "gain", "standard error"), rows)


@click.command(help=__doc__)
@click.argument("checkpoint", type=FILE)
@click.option("--batches", default=300, show_default=True)
@click.option("--seed", default=0, show_default=True)
@JSON
def main(checkpoint: Path, batches: int, seed: int, json_path: Path | None) -> None:
    """Play, dream and report."""
    torch.set_num_threads(1)
    agent, card = load_checkpoint(checkpoint)
    weights = RewardWeights(**load_config().reward.model_dump())
    rounds = play_held_out(agent, weights, seed, basic=0, own=ROUNDS).episodes[OWN]
    dreams, lambda_ = Dreams(agent, rounds, seed), agent.config.behavior.lambda_
    results: dict[str, Any] = {"sha256": card["sha256"], "updates": card["updates"], "batches": batches}
    results["siblings"] = measure_siblings(dreams, batches, lambda_)
    results["steps"], results["lambdas"] = measure_agreement(dreams, batches, lambda_)
    report(results, json_path, *tables(results))


if __name__ == "__main__":
    main()

"""The Dreamer agent as a player needs it: it acts with the posterior, from a state that its caller keeps."""

import copy
from functools import cached_property
from operator import methodcaller
from typing import Any

import torch
from torch import Tensor, nn

from dreamer.behavior import Behavior
from dreamer.config import DreamerConfig
from dreamer.fast import native, plainly, speed
from dreamer.networks import initialize, scale_output
from dreamer.sequence_model import State, carried, features
from dreamer.world_model import WorldModel

DEVIATION_HEAD = "world_model.deviation_head."
"""Weights that learning needs and play does not; older runs have none, and as it begins it changes nothing."""


class Dreamer(nn.Module):
    """World model and behaviour in one module.

    ``state, action = agent.act(state, obs, is_first)``; the state is a value that the caller keeps. How it learns is in
    dreamer/update.py.
    """

    def __init__(self, config: DreamerConfig, obs_size: int = 18, action_size: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.config, self.obs_size, self.action_size = config, obs_size, action_size
        self.world_model = WorldModel(config, obs_size, action_size)
        self.behavior = Behavior(self.world_model.dynamics.feature_size, action_size, config)
        self._initialize(seed)
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = 0

    @property
    def device(self) -> torch.device:
        """Where the weights and the generator are."""
        return self.world_model.obs_mean.device

    def settle(self, device: torch.device) -> "Dreamer":
        """Live on ``device``; to be called before an ``Updater`` is made.

        On another kind of device the generator begins anew from its seed, with other numbers.
        """
        if device.type != self.device.type:
            self.to(device)
            self.generator = torch.Generator(device).manual_seed(self.generator.initial_seed())
        return self

    def on_cpu(self) -> "Dreamer":
        """This agent if it lives on the CPU, else a frozen copy there."""
        return self if self.device.type == "cpu" else self.snapshot()

    @cached_property
    def _native_play(self) -> Any:
        return speed().native_play(self.world_model, self.behavior.policy)

    def initial_state(self, batch: int) -> State:
        """States before anything was seen: what a latent state carries and the previous action, zeros, (batch, ...)."""
        state = self.world_model.dynamics.initial(batch)
        return state | {"action": state["h"].new_zeros(batch, self.action_size)}

    def draw_noise(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """What a sampled step of play of so many rounds takes its chance from: (batch, numbers), a row for each.

        From ``generator``, or the agent's own.
        """
        source = self.generator if generator is None else generator
        return torch.cat([self.world_model.dynamics.noise(batch, source), self.behavior.policy.noise(batch, source)], 1)

    @torch.no_grad()
    def act(
        self,
        state: State,
        obs: Tensor,
        is_first: Tensor,
        *,
        deterministic: bool = False,
        noise: Tensor | None = None,
    ) -> tuple[State, Tensor]:
        """One step of play for a batch of rounds: (next state, action (batch, action) in [-1, 1]).

        obs (batch, obs), is_first (batch,) marks the rows where a round begins. Deterministic play draws nothing;
        otherwise latent and action are drawn with ``noise`` (batch, ...) as ``draw_noise`` makes it, by itself if None.
        On a CPU a row is the same, bit for bit, alone and in any batch. Where a network gives numbers that are not
        finite, so is the action.
        """
        if deterministic:
            noise = None
        elif noise is None:
            noise = self.draw_noise(len(obs))
        step = self._native_play if native(self.world_model.obs_mean) is not None else None
        with plainly():
            return (step or self.play)(state, obs, is_first, noise)

    def play(self, state: State, obs: Tensor, is_first: Tensor, noise: Tensor | None) -> tuple[State, Tensor]:
        """``act`` as written in the modules; deterministic where ``noise`` is None.

        On a CPU row by row: a product sums in an order that depends on its shape and on where its numbers lie.
        """
        if self.device.type != "cpu" or len(obs) == 1:
            return self.play_together(state, obs, is_first, noise)
        noises = [None] * len(obs) if noise is None else list(torch.split(noise, 1))
        rows = []
        for row, chance in enumerate(noises):
            one = slice(row, row + 1)
            before = {key: table[one] for key, table in state.items()}
            rows.append(self.play_together(before, obs[one], is_first[one], chance))
        after = {key: torch.cat([row[key] for row, _ in rows]) for key in state}
        return after, after["action"]

    def play_together(self, state: State, obs: Tensor, is_first: Tensor, noise: Tensor | None) -> tuple[State, Tensor]:
        """``play`` in one pass over the batch: equal to it but for the order in which products are summed."""
        policy, of_latent, of_action = self.behavior.policy, _mode, _mode
        if noise is not None:
            chance = torch.split(noise, [noise.shape[1] - self.action_size, self.action_size], 1)
            of_latent, of_action = (methodcaller("draw", part) for part in chance)
        after = self.world_model.filter_step(state, state["action"], obs, is_first, choose=of_latent)
        output = policy.net(features(after))
        # A choice among classes is made from NaN as well, and what comes of it looks as finite as any other.
        chosen_from = [after[key].flatten(1).sum(1) for key in after.keys() - carried(after).keys()]
        sound = torch.stack([*chosen_from, output.sum(1)])
        action = of_action(policy.distribution(output)).masked_fill(~torch.isfinite(sound).all(0)[:, None], torch.nan)
        return carried(after) | {"action": action}, action

    def fit_normalizer(self, observations: Tensor, changes: Tensor | None = None) -> None:
        """Fix the scales of the inputs, once, before learning starts; see ``WorldModel.fit_normalizer``."""
        self.world_model.fit_normalizer(observations, changes)

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take up what ``state_dict`` gave; raises RuntimeError when it is of another model."""
        if not any(key.startswith(DEVIATION_HEAD) for key in weights):
            own = {key: value for key, value in self.state_dict().items() if key.startswith(DEVIATION_HEAD)}
            weights = own | weights
        self.load_state_dict(weights)

    def snapshot(self) -> "Dreamer":
        """A frozen copy on the CPU that plays on by itself; the original's learning does not touch it."""
        twin = Dreamer(self.config, self.obs_size, self.action_size)
        twin.load_state_dict(copy.deepcopy(self.state_dict()))
        return twin.requires_grad_(False)

    def _initialize(self, seed: int) -> None:
        initialize(self, torch.Generator().manual_seed(seed))
        self.world_model.reward_head.zero_output()
        if self.config.model.observed:
            self.world_model.dynamics.next_observation.zero_output()
            scale_output(self.world_model.deviation_head, 0.0)
        self.behavior.value.zero_output()
        self.behavior.policy.soften_output()
        self.behavior.synchronize()


_mode = methodcaller("mode")

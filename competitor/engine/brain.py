"""A checkpoint in play: its weights, and the latent state of each match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor

from competitor.engine.player_brain import PlayerBrain
from competitor.engine.session import ACTION_SIZE, OBS_SIZE, Flags, Rows
from competitor.players import AGENTS, Player, fingerprint, kind_of, load_acting, make_player
from competitor.players.dreamer import Acting, finite_rows
from competitor.system import use_threads
from dreamer.agent import Dreamer
from dreamer.errors import CheckpointError
from dreamer.sequence_model import State

TESTED_BATCHES = (1, 2, 4, 8, 16, 32, 64)


def load_brain(
    spec: str, *, deterministic: bool = True, seed: int = 0, threads: int = 0, ready: int = 1
) -> DreamerBrain | PlayerBrain:
    """Return the brain of the player that `spec` names, see competitor.players.specs.

    `seed` fixes the samples of a policy that is not deterministic; torch gets `threads`, 0 leaves it the choice;
    `ready` players that are no checkpoint are made by the self-test. Raises PlayerError, and
    dreamer.errors.CheckpointError: missing, damaged, or made for other observations or actions.
    """
    use_threads(threads)
    if kind_of(spec) not in AGENTS:

        def make(number: int) -> Player:
            return make_player(spec, seed=seed + number, deterministic=deterministic)

        return PlayerBrain(make, name=spec, digest=fingerprint(spec), ready=ready)
    agent, acting, card = load_acting(spec)
    agent.generator.manual_seed(seed)
    return DreamerBrain(agent, name=spec, digest=card["sha256"], deterministic=deterministic, acting=acting)


@dataclass
class _Memory:
    """Of one match: its latent state (1, ...), without the action before, and what it samples from, if it does."""

    state: State
    chance: torch.Generator | None


class DreamerBrain:
    """Weights, and a latent state for each slot; a `competitor.engine.engine.Brain`."""

    def __init__(
        self, agent: Dreamer, *, name: str, digest: str, deterministic: bool = True, acting: Acting | None = None
    ) -> None:
        """acting: who decides, the agent itself if None.

        Raises CheckpointError if the agent was made for other observations or actions than the tournament's.
        """
        sizes = agent.obs_size, agent.action_size
        if sizes != (OBS_SIZE, ACTION_SIZE):
            raise CheckpointError(
                f"{name} takes {sizes[0]} observations and gives {sizes[1]} actions, the tournament has {OBS_SIZE} and "
                f"{ACTION_SIZE}: choose a checkpoint trained with rink.keep_mode = true"
            )
        self.name, self.digest, self.deterministic = name, digest, deterministic
        self._agent = agent.requires_grad_(False).eval()
        self._acting = acting or self._agent
        self._slots = count()
        self._memories: dict[int, _Memory] = {}

    def open(self) -> int:
        """Return a new slot.

        What a match samples depends on how many were opened before it, not on those that are played beside it.
        """
        chance = None
        if not self.deterministic:
            seed = int(torch.randint(2**62, (), generator=self._agent.generator))
            chance = torch.Generator().manual_seed(seed)
        slot = next(self._slots)
        state = self._acting.initial_state(1)
        del state["action"]  # the caller tells it, for it is the one that was sent
        self._memories[slot] = _Memory(state, chance)
        return slot

    def close(self, slot: int) -> None:
        del self._memories[slot]

    @torch.inference_mode()
    def act(self, slots: Sequence[int], obs: Rows, is_first: Flags, previous: Rows) -> Rows:
        """Return raw actions (n, 4) for obs (n, 18), is_first (n,) and the actions sent before, previous (n, 4).

        A row whose new state or action is not finite returns NaN and keeps its old state.
        """
        memories = [self._memories[slot] for slot in slots]
        state = {key: torch.cat([memory.state[key] for memory in memories]) for key in memories[0].state}
        state["action"] = torch.from_numpy(previous)
        state, action = self._acting.act(
            state,
            torch.from_numpy(obs),
            torch.from_numpy(is_first),
            deterministic=self.deterministic,
            noise=self._noise(memories),
        )
        is_sound = finite_rows(state)
        for row, memory in enumerate(memories):
            if is_sound[row]:
                memory.state = {key: state[key][row : row + 1] for key in memory.state}
        raw: Rows = action.masked_fill(~is_sound[:, None], torch.nan).numpy()
        return raw

    def _noise(self, memories: Sequence[_Memory]) -> Tensor | None:
        drawn = [self._agent.draw_noise(1, memory.chance) for memory in memories if memory.chance is not None]
        return torch.cat(drawn) if drawn else None

    def self_test(self) -> None:
        """Act in batches of 1 to 64 rows; raises CheckpointError if an action is not finite or a state does not reset.

        What the policy draws after it is what it would have drawn without it.
        """
        drawing = self._agent.generator.get_state()
        for size in TESTED_BATCHES if self._acting is self._agent else TESTED_BATCHES[:2]:  # each row costs a search
            slots = [self.open() for _ in range(size)]
            try:
                self._test(slots)
            finally:
                for slot in slots:
                    self.close(slot)
                self._agent.generator.set_state(drawing)

    def _test(self, slots: list[int]) -> None:
        random = np.random.default_rng(len(slots))
        steps = [random.uniform(-3, 3, (len(slots), OBS_SIZE)).astype(np.float32) for _ in range(2)]
        chances = [chance for slot in slots if (chance := self._memories[slot].chance) is not None]
        drawn = [chance.get_state() for chance in chances]
        first = self._tested_act(slots, steps[0], True, np.zeros((len(slots), ACTION_SIZE), np.float32))
        last = self._tested_act(slots, steps[1], False, first)
        for chance, before in zip(chances, drawn, strict=True):
            chance.set_state(before)
        again = self._tested_act(slots, steps[0], True, last)
        if not np.array_equal(first, again):
            raise CheckpointError(f"{self.name} cannot play: its memory of a round does not end with the round")

    def _tested_act(self, slots: list[int], obs: Rows, is_first: bool, previous: Rows) -> Rows:
        action = self.act(slots, obs, np.full(len(slots), is_first), previous)
        if not np.isfinite(action).all():
            raise CheckpointError(f"{self.name} cannot play: it does not give finite actions, its weights are damaged")
        return action

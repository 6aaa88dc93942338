"""How well an agent dreams: its world model, critic and heads against rounds that it has not learned from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from competitor.config import RewardWeights, load_config
from competitor.errors import PlayerError
from competitor.inspect.dream_check import CONTEXT, DreamReport, check_dream, cut_windows
from competitor.inspect.heads_check import CriticReport, DriftReport, check_critic, check_drift
from competitor.inspect.held_out import OWN, HeldOut
from competitor.play.sizes import ACTIONS, FEATURES, WITHOUT_KEEP_MODE
from competitor.players import checkpoint_path
from competitor.screen import Count, uncounted
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint
from dreamer.errors import CheckpointError

REPORT_FORMAT = 1
SHIPPED_REWARD = "the checkpoint does not say what it was rewarded for: returns are those of config.toml's [reward]"


@dataclass(frozen=True)
class InspectedAgent:
    """A checkpoint to be inspected, and the rewards that it learned from."""

    name: str
    agent: Dreamer
    sha256: str
    weights: RewardWeights
    notes: list[str]

    @classmethod
    def load(cls, name: str) -> InspectedAgent:
        """The checkpoint `name`: a file, or champion. Raises like `of`, and CheckpointError when there is none."""
        return cls.of(name, *load_checkpoint(checkpoint_path(name)))

    @classmethod
    def of(cls, name: str, agent: Dreamer, card: dict[str, Any]) -> InspectedAgent:
        """Raises PlayerError for an agent of another game, CheckpointError for a card with unknown rewards."""
        if (agent.obs_size, agent.action_size) not in ((FEATURES, ACTIONS), WITHOUT_KEEP_MODE):
            raise PlayerError(f"{name} plays with {agent.obs_size} observations: it was not made for laser hockey")
        notes = [] if "reward" in card else [SHIPPED_REWARD]
        try:
            reward = RewardWeights.model_validate(card["reward"]) if "reward" in card else load_config().reward
        except ValidationError as error:
            raise CheckpointError(f"the card of {name} names rewards that this version does not know") from error
        return cls(name, agent, str(card["sha256"]), reward, notes)


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found. rounds, dreams: by who played; critic: None for rounds that others may have played."""

    checkpoint: str
    sha256: str
    seed: int
    seconds: float
    discount: float
    reward: dict[str, float]
    rounds: dict[str, int]
    dreams: dict[str, DreamReport]
    critic: CriticReport | None
    drift: DriftReport
    notes: list[str]
    windows: int
    """How many windows were dreamed through."""
    format: int = REPORT_FORMAT
    context: int = CONTEXT


def inspect(inspected: InspectedAgent, held_out: HeldOut, *, seed: int, on_part: Count = uncounted) -> Inspection:
    """Dream through all rounds, source by source, then judge critic and heads; takes some seconds.

    seed: fixes the samples. on_part: is told how many parts of this are done.
    """
    began, own = time.monotonic(), held_out.episodes.get(OWN)
    discount = inspected.agent.config.behavior.discount
    parts = len(held_out.episodes) + 2
    dreams = {}
    for done, source in enumerate(held_out.episodes):
        on_part(done, parts)
        windows = cut_windows(held_out.episodes[source])
        dreams[source] = check_dream(inspected.agent.world_model, windows, discount=discount, seed=seed)
    on_part(parts - 2, parts)
    critic = check_critic(inspected.agent, own, seed=seed) if own else None
    on_part(parts - 1, parts)
    drift = check_drift(inspected.agent.world_model, held_out.all_episodes)
    return Inspection(
        checkpoint=inspected.name,
        sha256=inspected.sha256,
        seed=seed,
        seconds=time.monotonic() - began,
        discount=discount,
        reward=inspected.weights.model_dump(),
        rounds=held_out.rounds,
        dreams=dreams,
        critic=critic,
        drift=drift,
        notes=[*inspected.notes, *held_out.notes],
        windows=sum(report.windows for report in dreams.values()),
    )

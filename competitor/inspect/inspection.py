"""How well an agent dreams: its world model, critic and heads against rounds that it has not learned from."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from competitor.config import RewardWeights, load_config
from competitor.errors import PlayerError
from competitor.inspect.dream_check import CONTEXT, DreamReport, check_dream, cut_windows
from competitor.inspect.heads_check import CriticReport, DriftReport, check_critic, check_drift
from competitor.inspect.held_out import OWN, HeldOut
from competitor.play.sizes import ACTIONS, FEATURES, WITHOUT_KEEP_MODE
from competitor.players import checkpoint_path
from competitor.screen import Count
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint
from dreamer.errors import CheckpointError
from dreamer.replay import Episode

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

    @property
    def windows(self) -> int:
        """How many windows were dreamed through."""
        return sum(report.windows for report in self.dreams.values())

    def to_json(self) -> str:
        """The inspection as JSON text; what could not be measured is null."""
        about = asdict(self) | {
            "format": REPORT_FORMAT,
            "context": CONTEXT,
            "windows": self.windows,
            "dreams": {source: report.to_dict() for source, report in self.dreams.items()},
            "critic": self.critic and self.critic.to_dict(),
        }
        return to_json(about, indent=2, inf_nan_mode="null").decode() + "\n"


def inspect(inspected: InspectedAgent, held_out: HeldOut, *, seed: int, on_part: Count | None = None) -> Inspection:
    """Dream through all rounds, source by source, then judge critic and heads; takes some seconds.

    seed: fixes the samples. on_part: is told how many parts of this are done.
    """
    began, own = time.monotonic(), held_out.episodes.get(OWN)
    parts = len(held_out.episodes) + 2
    count = on_part or (lambda done, total: None)
    dreams = {}
    for done, source in enumerate(held_out.episodes):
        count(done, parts)
        dreams[source] = _check_source(inspected.agent, held_out.episodes[source], seed)
    count(parts - 2, parts)
    critic = check_critic(inspected.agent, own, seed=seed) if own else None
    count(parts - 1, parts)
    drift = check_drift(inspected.agent.world_model, held_out.all_episodes)
    return Inspection(
        checkpoint=inspected.name,
        sha256=inspected.sha256,
        seed=seed,
        seconds=time.monotonic() - began,
        discount=inspected.agent.config.behavior.discount,
        reward=inspected.weights.model_dump(),
        rounds=held_out.rounds,
        dreams=dreams,
        critic=critic,
        drift=drift,
        notes=[*inspected.notes, *held_out.notes],
    )


def _check_source(agent: Dreamer, episodes: list[Episode], seed: int) -> DreamReport:
    discount = agent.config.behavior.discount
    return check_dream(agent.world_model, cut_windows(episodes), discount=discount, seed=seed)

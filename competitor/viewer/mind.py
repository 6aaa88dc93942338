"""What an agent thinks while it looks on at a recorded round: what it expects, and what it dreams comes next."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from competitor.errors import PlayerError, RecordingError
from competitor.players import AGENTS, agent_path, checkpoint_path, kind_of, short_name
from competitor.viewer.frames import Floats
from competitor.wire.names import shown_name
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint
from dreamer.errors import CheckpointError
from dreamer.sequence_model import features, stack

HORIZON = 15  # steps that are dreamed on: as far as an agent dreams while it learns
LARGEST = 1e6  # of what it is shown: no rink sends so much, a broken server might
SEED = 0  # of the chance in the dreams: the same round always shows the same ones


def called(player: str) -> str:
    """A player's name as it is shown: without folders, and without what a recording of somebody else may hide in it."""
    return shown_name(short_name(player))


class Mind:
    """An agent that looks on. name: without folders, as it is shown."""

    def __init__(self, agent: Dreamer, name: str) -> None:
        self.agent, self.name = agent, name

    @classmethod
    def load(cls, checkpoint: str) -> Mind:
        """The mind of a checkpoint, of a run's best one, or of the champion; raises CheckpointError."""
        return cls(load_checkpoint(checkpoint_path(checkpoint))[0], called(checkpoint))

    @torch.inference_mode()
    def look_on(self, views: Floats, actions: Floats) -> tuple[Floats, Floats]:
        """What it expects (steps + 1,) and dreams (steps + 1, HORIZON, 18) at every step of a round.

        views (steps + 1, 18) and actions (steps, 4) are those of the player in whose place it thinks. The dream goes
        on with actions of its own. Raises RecordingError for a round on a rink of another keep mode.
        """
        agent = self.agent
        if views.shape[1] != agent.obs_size or actions.shape[1] != agent.action_size:
            raise RecordingError(f"{self.name} cannot look on: the round was played with another rink.keep_mode")
        limited = (np.nan_to_num(np.clip(part, -LARGEST, LARGEST)).astype(np.float32) for part in (views, actions))
        seen, acted = map(torch.from_numpy, limited)
        state, states = agent.initial_state(1), []
        for step, obs in enumerate(seen):
            state, _ = agent.act(state, obs[None], torch.tensor([step == 0]), deterministic=True)
            states.append({key: part for key, part in state.items() if key != "action"})
            state |= {"action": acted[step : step + 1]}
        start = {key: part.squeeze(1) for key, part in stack(states).items()}
        value = agent.behavior.value.mean(agent.behavior.value(features(start)))
        chance = torch.Generator().manual_seed(SEED)
        dreamed, *_ = agent.world_model.imagine(agent.behavior.policy, start, HORIZON, chance)
        dreams = agent.world_model.decode(dreamed)[1:].transpose(0, 1)
        return value.numpy(), dreams.numpy()


@cache
def mind_of(player: str, digest: str = "") -> Mind | None:
    """The mind of a recorded player, None unless its checkpoint is still there with the same weights.

    digest: sha256 of the weights, "": not known.
    """
    try:
        if kind_of(player) not in AGENTS:
            return None
        agent, card = load_checkpoint(agent_path(player))
    except (PlayerError, CheckpointError, OSError):  # OSError: a name that no file can have
        return None
    return Mind(agent, called(player)) if digest in ("", card["sha256"]) else None

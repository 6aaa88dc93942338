"""Windows worth looking at, each with what really happened and what was dreamed, and the curve of the errors.

An example is not the best dream that could be found: of its kind it is the one with the median error of the puck.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from competitor.inspect.dream_check import BODIES, CONTEXT, Windows, body_distances, cut_windows, dream_on
from competitor.inspect.held_out import OWN, HeldOut
from dreamer.agent import Dreamer
from dreamer.replay import Array, Episode
from dreamer.sequence_model import features
from dreamer.world_model import WorldModel

DREAMS = 8
"""Dreams of each example: the first is drawn in full, the others show how far chance takes it."""
COMPARED_AT = 15
FAR = 4.0
"""Units that the puck travels at least in an example of open play."""
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class DreamExample:
    """One window. seen (CONTEXT, obs): the context; real (1 + dreamed, obs): from its last step on, as it went on;
    dreams (DREAMS, 1 + dreamed, obs) and goes_on (DREAMS, 1 + dreamed): the same in the dreams, and the probability
    that the round continues. After `steps_left` steps the round really ended."""

    title: str
    seen: Array
    real: Array
    dreams: Array
    goes_on: Array
    steps_left: int

    def dream_ends(self, last: int) -> list[int]:
        """The step of each dream at which it first expects the end, `last` at most."""
        expected = [np.flatnonzero(goes_on[:last] < 0.5) for goes_on in self.goes_on]
        return [int(steps[0]) if len(steps) else last for steps in expected]


@dataclass(frozen=True)
class DreamExamples:
    """Examples, and the quartiles (3, 1 + dreamed) of each body's error over all windows of the same rounds."""

    source: str
    chosen: list[DreamExample]
    errors: dict[str, Array]


def choose_examples(agent: Dreamer, held_out: HeldOut, seed: int) -> DreamExamples:
    """Dream through the rounds that the agent played itself, or else through all of them, and choose the examples."""
    source = OWN if held_out.episodes.get(OWN) else next(iter(held_out.episodes))
    return _examples_of(agent.world_model, source, held_out.episodes[source], torch.Generator().manual_seed(seed))


@torch.no_grad()
def _examples_of(world: WorldModel, source: str, episodes: Sequence[Episode], generator: Generator) -> DreamExamples:
    windows = cut_windows(episodes)
    decoded = world.decode({"joined": features(dream_on(world, windows, generator))})
    distances = body_distances(decoded, windows)
    chosen = _choose(windows, distances["puck"])
    examples = [_example(world, _one(windows, index), title, generator) for title, index in chosen.items()]
    return DreamExamples(source, examples, {body: _quartiles(distances[body], windows) for body in BODIES})


def _quartiles(distances: Tensor, windows: Windows) -> Array:
    """Quartiles (3, 1 + dreamed) over the windows whose round lasts that long."""
    levels = torch.tensor(QUARTILES)
    steps = [of_step[windows.steps_left >= step] for step, of_step in enumerate(distances)]
    quartiles = [of_step.quantile(levels) if len(of_step) else levels * float("nan") for of_step in steps]
    return torch.stack(quartiles, 1).numpy()


def _choose(windows: Windows, puck_error: Tensor) -> dict[str, int]:
    """A title and a window for each kind of example that there is; one of the longest windows where there is none."""
    puck = windows.obs[CONTEXT - 1 :, :, BODIES["puck"]]
    dreamed = len(puck) - 1
    goal = windows.goal & (windows.steps_left >= COMPARED_AT) & (windows.steps_left <= dreamed)
    right = puck[-1, :, 0] > 0
    open_play = (windows.steps_left >= dreamed) & ~goal & (puck.diff(dim=0).norm(dim=-1).sum(0) >= FAR)
    kinds = {"It scores": goal & right, "It concedes": goal & ~right, "Open play": open_play}
    chosen = {title: _median_one(kind, puck_error[COMPARED_AT]) for title, kind in kinds.items() if kind.any()}
    return chosen or {"The longest round": int(windows.steps_left.argmax())}


def _median_one(kind: Tensor, error: Tensor) -> int:
    candidates = kind.nonzero().squeeze(-1)
    return int(candidates[error[candidates].argsort()[len(candidates) // 2]])


def _one(windows: Windows, index: int) -> Windows:
    """The window DREAMS times."""
    rows = torch.full((DREAMS,), index)
    series = (windows.obs[:, rows], windows.action[:, rows], windows.reward[:, rows])
    return Windows(*series, windows.steps_left[rows], windows.goal[rows])


def _example(world: WorldModel, windows: Windows, title: str, generator: Generator) -> DreamExample:
    dreamt = features(dream_on(world, windows, generator))
    decoded, goes_on = world.decode({"joined": dreamt}), torch.sigmoid(world.continue_head(dreamt)).squeeze(-1)
    left, dreamed = int(windows.steps_left[0]), len(decoded) - 1
    ending = f" after {left} steps" if windows.goal[0] and left <= dreamed else ""
    return DreamExample(
        title=title + ending,
        seen=windows.obs[:CONTEXT, 0].numpy(),
        real=windows.obs[CONTEXT - 1 :, 0].numpy(),
        dreams=decoded.transpose(0, 1).numpy(),
        goes_on=goes_on.T.numpy(),
        steps_left=left,
    )

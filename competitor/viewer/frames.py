"""Steps as the numbers that <rink-viewer> draws. No torch here: the arena does it while matches run."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competitor.play.finished_match import FinishedMatch
from competitor.play.outcomes import rounds_of
from competitor.rink.observation import other_view

SHOWN = np.array([0, 1, 2, 6, 7, 8, 12, 13, 16, 17])
"""Where a view (18,) holds a frame: both rackets' x, y and angle, the puck, and how long each player may hold it."""
DECIMALS = 3  # a thousandth of a unit is a sixteenth of a pixel
Floats = NDArray[np.floating[Any]]
Json = dict[str, Any]


def frames_of(views: Floats, side: int = 0) -> list[list[float]]:
    """The frames (steps, 10) of the views (steps, 18), or (steps, 16) without keep mode, of the player at `side`."""
    whole = np.hstack((views, np.zeros((len(views), 18 - views.shape[1]))))
    frames: list[list[float]] = rounded((other_view(whole) if side else whole)[:, SHOWN])
    return frames


def rounded(numbers: Floats) -> Any:
    """Numbers of any shape as nested lists short enough to be sent; what is not finite is 0."""
    return np.round(np.nan_to_num(numbers.astype(np.float64), posinf=0.0, neginf=0.0), DECIMALS).tolist()


def round_json(
    views: Floats, actions: tuple[Floats | None, Floats | None], winner: int | None, score: tuple[int, int] = (0, 0)
) -> Json:
    """A round as the viewer takes it.

    views (steps + 1, 18) of the left player; actions (steps, 4) of the left and the right player, each in its own
    frame, None: not known; winner: 1 left, -1 right, 0 a draw, None: not known; score: before the round.
    """
    shown = [None if each is None else rounded(each) for each in actions]
    return {"frames": frames_of(views), "actions": shown, "winner": winner, "score": list(score)}


def match_rounds(match: FinishedMatch) -> list[Json]:
    """The rounds of a match as the viewer takes them. The own side is left, whatever the server called it."""
    rounds, score = [], (0, 0)
    for rows, views, result in views_of(match):
        opponent = None if match.opponent_actions is None else match.opponent_actions[rows]
        rounds.append(round_json(views, (match.actions[rows], opponent), result, score))
        score = (score[0] + (result == 1), score[1] + (result == -1))
    return rounds


def views_of(match: FinishedMatch) -> Iterator[tuple[slice, Floats, int | None]]:
    """Yield for each round its rows in the match, its views (steps + 1, 18) and its result, None: not known."""
    for played in rounds_of(match):
        rows = slice(played.first, played.first + played.steps)
        last = match.obs[rows][-1:] if played.final is None else played.final[None]
        yield rows, np.vstack((match.obs[rows], last)), played.result

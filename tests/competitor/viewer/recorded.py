"""Recordings to watch: rounds of the basic opponents, and a match of the course's server."""

from pathlib import Path

import numpy as np
import pytest

from competitor.play.match_file import file_name, match_bytes
from competitor.play.outcomes import rounds_of
from competitor.play.recording import record_round
from competitor.play.rounds import Round, RoundSetup, play_rounds
from competitor.players import BasicPlayer
from tests.competitor.play.made_matches import recorded_match


def a_round(side: int = 0, seed: int = 11, keep_mode: bool = True) -> Round:
    """A round that strong, at `side`, wins against weak within a second."""
    strong, weak = (BasicPlayer(weak=weak, keep_mode=keep_mode) for weak in (False, True))
    setup = RoundSetup(one_starting=True, seed=seed, side=side)
    return play_rounds(strong, weak, [setup], rinks=1, keep_mode=keep_mode)[0]


def record(folder: Path, played: Round, number: int = 0, keep_mode: bool = True) -> Path:
    """Keep a round of `a_round` in a folder."""
    return record_round(folder, played, number=number, player="strong", engine="builtin", keep_mode=keep_mode)


def record_match(folder: Path) -> Path:
    """Keep a match in a folder."""
    match = recorded_match(opponent="ada")
    path = folder / file_name(match)
    path.write_bytes(match_bytes(match, rounds_of(match), "0"))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recorded rounds, one from each side, a match, and a file that is none."""
    made: Path = tmp_path_factory.mktemp("records")
    for side in (0, 1):
        record(made, a_round(side), number=side)
    record_match(made)
    (made / "sub").mkdir()
    np.savez(made / "sub" / "foreign.npz", x=np.zeros(3))
    return made

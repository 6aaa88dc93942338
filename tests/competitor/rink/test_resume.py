"""A round that is known by two observations alone can be played on, whatever the rink was used for before."""

import numpy as np
import pytest

from competitor.play.rounds import Round, RoundSetup, play_rounds
from competitor.players import BasicPlayer
from competitor.players.rollouts import Situation, new_rink, resume
from competitor.rink.observation import VIEW, write_view_one
from competitor.rink.simulation import Simulation

AHEAD = 12


@pytest.fixture(scope="module")
def rounds() -> list[Round]:
    strong, weak = BasicPlayer(weak=False), BasicPlayer(weak=True)
    return play_rounds(
        strong, weak, [RoundSetup(one_starting=seed % 2 == 0, seed=seed) for seed in range(12)], rinks=12
    )


def situation(played: Round, time: int) -> Situation:
    return Situation(played.obs[0, time - 1], played.obs[0, time])


def view(rink: Simulation) -> np.ndarray:
    buffer = memoryview(bytearray(VIEW.size))
    write_view_one(rink, buffer, 0)
    return np.frombuffer(buffer, np.float32)


def go_on(rink: Simulation, played: Round, time: int) -> np.ndarray:
    """What is seen at the next AHEAD steps, (steps, 18), if both players do what they did."""
    resume(rink, situation(played, time))
    actions = np.concatenate(tuple(played.actions), axis=1)[time : time + AHEAD].tolist()
    seen = []
    for action in actions:
        rink.step(action)
        seen.append(view(rink))
    return np.array(seen)


def test_a_used_rink_plays_the_bits_of_a_new_one(rounds: list[Round]) -> None:
    used = new_rink()
    for played in rounds:
        for time in range(1, played.steps, 29):
            assert np.array_equal(go_on(used, played, time), go_on(new_rink(), played, time))


def test_what_follows_is_what_followed(rounds: list[Round]) -> None:
    """All but the puck's spin is known, which tells only after a bounce."""
    rink = new_rink()
    errors, goals, counters = [], [], []
    for played in rounds:
        for time in range(1, played.steps - AHEAD + 1, 3):
            seen, truth = go_on(rink, played, time), played.obs[0, time + 1 : time + 1 + AHEAD]
            errors.append(np.abs(seen[6] - truth[6]))
            goals.append(rink.score.winner == (played.winner if time + AHEAD == played.steps else 0))
            counters.append(np.array_equal(seen[0, 16:], truth[0, 16:]))
    rackets, pucks = np.array(errors)[:, [0, 1, 6, 7]].max(1), np.array(errors)[:, 12:14].max(1)
    assert all(counters)
    assert np.median(rackets) < 1e-5 and np.median(pucks) < 1e-5
    assert np.mean(rackets < 0.01) > 0.98 and np.mean(pucks < 0.1) > 0.9
    assert np.mean(goals) > 0.98


def changes(rounds: list[Round], before: range, after: int) -> list[tuple[Round, int]]:
    """Rounds and times at which a counter in `before` becomes `after`."""
    return [
        (played, time)
        for played in rounds
        for time in range(1, played.steps)
        for held in (16, 17)
        if played.obs[0, time, held] in before and played.obs[0, time + 1, held] == after
    ]


def wrong_counters(moments: list[tuple[Round, int]], *, know_before: bool) -> int:
    rink, wrong = new_rink(), 0
    for played, time in moments:
        before, now = situation(played, time)
        resume(rink, Situation(before if know_before else now, now))
        rink.step(np.concatenate(tuple(played.actions[:, time])).tolist())
        wrong += not np.array_equal(view(rink)[16:], played.obs[0, time + 1, 16:])
    return wrong


def test_a_shot_is_no_catch_and_a_catch_is_one(rounds: list[Round]) -> None:
    """A shot puck still touches its racket; one that is to be caught touches it too, but has not done so before."""
    shots, catches = changes(rounds, range(2, 16), 0), changes(rounds, range(1), 15)
    assert len(shots) > 20 and wrong_counters(shots, know_before=True) == 0
    assert len(catches) > 20 and wrong_counters(catches, know_before=True) == 0
    assert wrong_counters(catches, know_before=False) > len(catches) / 4

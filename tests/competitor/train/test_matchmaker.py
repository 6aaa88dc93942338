"""Who plays whom in training, and the rounds before it."""

import json
from collections import Counter

import numpy as np
import pytest

from competitor.config import Config, load_config
from competitor.play.rounds import RoundSetup
from competitor.play.warmup import WarmupPlayer, play_warmup, warmup_setups
from competitor.rink import Mode
from competitor.train.league import League
from competitor.train.matchmaker import Matchmaker
from competitor.train.roster import Roster, listed_players
from dreamer.agent import Dreamer


def config_of(*overrides: str) -> Config:
    return load_config(preset="debug", overrides=overrides)


def matchmaker_of(config: Config, members: int = 0, seed: int = 0) -> Matchmaker:
    league = League(config.league.shares, 20)
    for step in range(members):
        league.add(f"step-{step}", step)
    agent = Dreamer(config.dreamer)
    roster = Roster(agent, listed_players(config), lambda name: agent.snapshot())
    return Matchmaker(config, league, roster, np.random.default_rng(seed))


def take(matchmaker: Matchmaker, count: int) -> list[RoundSetup]:
    return [next(matchmaker) for _ in range(count)]


def test_opponents_come_by_their_shares() -> None:
    shares = "{weak=1, strong=2, self=3, past=4, random=2, 'sparring:spinner'=0}"
    config = config_of(f"league.opponents={shares}")
    matchmaker = matchmaker_of(config, members=3)
    matchmaker.redraw([])
    listed = Counter(matchmaker.league.listed_as(setup.opponent) for setup in take(matchmaker, 6000))
    expected = {"weak": 1, "strong": 2, "self": 3, "past": 4, "random": 2}
    assert listed.keys() == expected.keys()
    for name, share in expected.items():
        assert listed[name] / 6000 == pytest.approx(share / 12, abs=0.03)


def test_without_past_selves_their_share_goes_to_the_others() -> None:
    config = config_of("league.opponents={weak=1, strong=1, self=0, past=8}")
    counts = Counter(setup.opponent for setup in take(matchmaker_of(config), 1000))
    assert counts.keys() == {"weak", "strong"}


def test_modes_come_by_their_shares() -> None:
    counts = Counter(setup.mode for setup in take(matchmaker_of(config_of()), 4000))
    assert counts[Mode.TRAIN_SHOOTING] / 4000 == pytest.approx(0.05, abs=0.01)
    assert counts[Mode.TRAIN_DEFENSE] / 4000 == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    ("own_start", "other_start", "expected"), [(0.5, 0.5, 0.5), (0.8, 0.5, 2 / 3), (0.2, 0.9, 0.5)]
)
def test_sides_take_turns_and_the_other_starts_where_more_is_lost(
    own_start: float, other_start: float, expected: float
) -> None:
    matchmaker = matchmaker_of(config_of("league.opponents={weak=1, strong=0, self=0}"))
    record = matchmaker.league.opponents["weak"]
    record.own_start, record.other_start = own_start, other_start
    setups = take(matchmaker, 4000)
    assert [setup.side for setup in setups[:5]] == [0, 1, 0, 1, 0]
    others = [setup.one_starting != (setup.side == 0) for setup in setups]
    assert sum(others) / 4000 == pytest.approx(expected, abs=0.03)


def test_who_consolidates_meets_past_selves_instead_of_itself_and_all_of_them_alike() -> None:
    matchmaker = matchmaker_of(config_of("league.opponents={weak=1, strong=0, self=2, past=1}"), members=3)
    for member, rate in zip(matchmaker.league.members, (0.0, 1.0, 1.0), strict=True):
        member.win_rate = rate
    matchmaker.consolidates = True
    counts = Counter[str]()
    for _ in range(300):
        matchmaker.redraw([])
        counts.update(setup.opponent for setup in take(matchmaker, 10))
    assert counts["self"] == 0 and counts["weak"] / 3000 == pytest.approx(0.25, abs=0.03)
    assert all(counts[f"step-{number}"] / 3000 == pytest.approx(0.25, abs=0.04) for number in range(3))


def test_past_selves_are_redrawn_on_schedule_and_unloaded_when_nobody_needs_them() -> None:
    config = config_of("training.rinks=10")
    matchmaker = matchmaker_of(config, members=12)
    assert matchmaker.redraw_is_due
    matchmaker.redraw([])
    first = list(matchmaker.active)
    assert len(first) == 2
    take(matchmaker, 9)
    assert not matchmaker.redraw_is_due
    take(matchmaker, 1)
    assert matchmaker.redraw_is_due
    matchmaker.redraw([first[0]])
    roster = matchmaker.roster
    assert set(roster.past) == {*matchmaker.active, first[0]}
    assert set(roster) == {"weak", "strong", "self", *roster.past} and len(roster) == 3 + len(roster.past)


def test_loaded_selves_sample_from_generators_of_their_own() -> None:
    matchmaker = matchmaker_of(config_of(), members=4)
    matchmaker.redraw([])
    seeds = {player.agent.generator.initial_seed() for player in matchmaker.roster.past.values()}
    assert len(seeds) == 2


def test_a_restored_matchmaker_goes_on_the_same() -> None:
    config = config_of()
    one = matchmaker_of(config, members=3)
    one.redraw([])
    take(one, 17)
    two = matchmaker_of(config, members=3, seed=99)
    two.restore(json.loads(json.dumps(one.to_json())))
    assert take(two, 50) == take(one, 50)


def test_warm_up_rounds_repeat_with_the_seed_and_hold_all_kinds_of_play() -> None:
    one = play_warmup(12, np.random.default_rng(5), rinks=4)
    two = play_warmup(12, np.random.default_rng(5), rinks=4)
    other = play_warmup(12, np.random.default_rng(6), rinks=4)
    assert [played.steps for played in one] == [played.steps for played in two]
    assert all(np.array_equal(a.obs, b.obs) for a, b in zip(one, two, strict=True))
    assert [played.steps for played in one] != [played.steps for played in other]
    modes = Counter(setup.mode for setup in warmup_setups(1000, np.random.default_rng(0)))
    assert modes[Mode.NORMAL] > 700 and modes[Mode.TRAIN_SHOOTING] > 50 and modes[Mode.TRAIN_DEFENSE] > 50


@pytest.mark.parametrize("keep_mode", [True, False])
def test_warm_up_players_use_all_their_behaviours_within_bounds(keep_mode: bool) -> None:
    player = WarmupPlayer("warm-up", 0, keep_mode=keep_mode)
    player.reset(40)
    obs = np.zeros((40, 18 if keep_mode else 16), np.float32)
    first = np.ones(40, bool)
    actions = np.stack([player.act(obs, first if step == 0 else ~first) for step in range(40)])
    assert set(player.behaviours) == {"plain", "noisy", "random"}
    assert np.abs(actions).max() <= 1.0
    random = [slot for slot, behaviour in enumerate(player.behaviours) if behaviour == "random"]
    held = (np.diff(actions[:, random], axis=0) == 0).all(axis=2).mean()
    assert 0.7 < held < 0.98

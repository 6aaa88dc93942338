"""A checkpoint in play: its table of states, its self-test, and matches that know nothing of each other."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from competitor.config import Config
from competitor.engine.brain import DreamerBrain, load_brain
from competitor.engine.session import Action, Session, Source
from competitor.players import DreamerPlayer
from dreamer.agent import Dreamer
from dreamer.checkpoint import read_card, save_checkpoint
from dreamer.errors import CheckpointError
from dreamer.sequence_model import State
from tests.competitor.engine.fakes import AnswerLog, Inbox, make_engine, play_obs, running

ZERO = np.zeros((1, 4), np.float32)


@pytest.fixture(scope="module")
def agent(debug_config: Config) -> Dreamer:
    return Dreamer(debug_config.dreamer, seed=3)


@pytest.fixture
def brain(agent: Dreamer) -> DreamerBrain:
    return DreamerBrain(agent, name="mine", digest="d")


def observations(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 18)).astype(np.float32)


def first(rows: int, yes: bool = True) -> np.ndarray:
    return np.full(rows, yes)


def alone(agent: Dreamer, rows: list[list[float]]) -> list[list[float]]:
    """What a player of its own does with the same observations."""
    player = DreamerPlayer(agent, "alone")
    player.reset(1)
    return [player.act(np.float32([obs]), np.array([index % 10 == 0]))[0].tolist() for index, obs in enumerate(rows)]


def test_one_match_is_played_as_by_a_player(agent: Dreamer, brain: DreamerBrain) -> None:
    rows, previous, slot = play_obs(30), ZERO, brain.open()
    actions = []
    for index, obs in enumerate(rows):
        previous = brain.act([slot], np.float32([obs]), np.array([index % 10 == 0]), previous)
        actions.append(previous[0].tolist())
    assert actions == alone(agent, rows)


def test_the_previous_action_is_the_one_that_the_caller_tells(brain: DreamerBrain) -> None:
    slots = [brain.open() for _ in range(64)]
    obs, told = np.repeat(observations(32), 2, axis=0), np.tile(np.float32([[1.0], [-1.0]]), (32, 4))
    brain.act(slots, obs, first(64), np.zeros((64, 4), np.float32))
    actions = brain.act(slots, obs, first(64, False), told)
    assert not np.array_equal(actions[::2], actions[1::2])


def test_matches_come_and_go_beside_one_in_play(agent: Dreamer, brain: DreamerBrain) -> None:
    rows = play_obs(8)
    slot, previous, actions = brain.open(), ZERO, []
    for index, obs in enumerate(rows):
        others = [brain.open() for _ in range(9)]
        assert slot not in others
        start = brain.act(others, observations(9), first(9), np.zeros((9, 4), np.float32))
        assert np.array_equal(start, brain.act(others, observations(9), first(9), start))  # of a void state
        previous = brain.act([slot], np.float32([obs]), first(1, index == 0), previous)
        actions.append(previous[0].tolist())
        for other in others:
            brain.close(other)
    assert actions == alone(agent, rows)


def test_slots_are_told_apart_in_any_order(agent: Dreamer, brain: DreamerBrain) -> None:
    slots, obs = [brain.open() for _ in range(6)], observations(6)
    other = DreamerBrain(agent, name="other", digest="d")
    twins = [other.open() for _ in range(6)]
    order = [3, 0, 5, 1, 4, 2]
    previous = np.zeros((6, 4), np.float32)
    for step in range(4):
        one = brain.act(slots, obs + step, first(6, step == 0), previous)
        two = other.act([twins[index] for index in order], obs[order] + step, first(6, step == 0), previous[order])
        assert np.array_equal(one[order], two)
        previous = one


def test_what_goes_wrong_leaves_the_states(
    agent: Dreamer, brain: DreamerBrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a row that is not finite, and of all rows when the network raises."""
    undisturbed = DreamerBrain(agent, name="undisturbed", digest="d")
    slots, twins = [brain.open(), brain.open()], [undisturbed.open(), undisturbed.open()]
    obs, previous = observations(2), np.zeros((2, 4), np.float32)
    for one, places in ((brain, slots), (undisturbed, twins)):
        one.act(places, obs, first(2), previous)
    broken = np.full((1, 18), np.nan, np.float32)
    assert np.isnan(brain.act(slots[:1], broken, first(1, False), ZERO)).all()
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(agent, "act", lambda *tables, **settings: 1 / 0)
        brain.act(slots, obs, first(2, False), previous)
    again, expected = (
        one.act(places, obs, first(2, False), previous) for one, places in ((brain, slots), (undisturbed, twins))
    )
    assert np.array_equal(again, expected) and np.isfinite(again).all()


@pytest.mark.parametrize(("obs_size", "action_size"), [(16, 3), (16, 4), (18, 3)])
def test_a_checkpoint_for_another_game_is_refused(debug_config: Config, obs_size: int, action_size: int) -> None:
    agent = Dreamer(debug_config.dreamer, obs_size, action_size)
    with pytest.raises(CheckpointError, match=rf"mine takes {obs_size} observations and gives {action_size} actions, "):
        DreamerBrain(agent, name="mine", digest="d")


def test_a_checkpoint_becomes_a_brain(agent: Dreamer, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_checkpoint(path, agent, {})
    brain = load_brain(str(path))
    assert brain.name == str(path) and brain.deterministic
    assert brain.digest == read_card(path)["sha256"] and len(brain.digest) == 64
    twin = DreamerBrain(agent, name="twin", digest="d")
    obs = observations(1)
    assert np.array_equal(brain.act([brain.open()], obs, first(1), ZERO), twin.act([twin.open()], obs, first(1), ZERO))


def test_a_sampling_brain_repeats_itself_with_its_seed(agent: Dreamer, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "mine", agent, {})
    actions = []
    for seed in (1, 1, 2):
        brain = load_brain(str(tmp_path / "mine"), deterministic=False, seed=seed)
        slots = [brain.open() for _ in range(6)]
        actions.append(brain.act(slots, observations(6), first(6), np.zeros((6, 4), np.float32)))
    assert np.array_equal(actions[0], actions[1]) and not np.array_equal(actions[0], actions[2])


def test_the_shipped_champion_passes_the_self_test() -> None:
    brain = load_brain("champion", threads=1)
    assert brain.name == "champion"
    brain.self_test()


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_self_test_leaves_no_trace(agent: Dreamer, deterministic: bool) -> None:
    actions = []
    for tested in (False, True):
        agent.generator.manual_seed(5)
        brain = DreamerBrain(agent, name="mine", digest="d", deterministic=deterministic)
        if tested:
            brain.self_test()
        slots = [brain.open() for _ in range(6)]
        actions.append(brain.act(slots, observations(6), first(6), np.zeros((6, 4), np.float32)))
        brain.self_test()  # again, with matches in play: their slots are not touched
    assert np.array_equal(*actions)


DYNAMICS = "world_model.dynamics"
PARTS_IN_PLAY = ("world_model.encoder", f"{DYNAMICS}.cell", f"{DYNAMICS}.posterior_net", "behavior.policy")


def damaged(agent: Dreamer, part: str, value: float = torch.nan) -> Dreamer:
    with torch.no_grad():
        next(agent.get_submodule(part).parameters()).view(-1)[0] = value
    return agent


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("part", PARTS_IN_PLAY)
def test_the_self_test_finds_damaged_weights(debug_config: Config, part: str, value: float) -> None:
    agent = damaged(Dreamer(debug_config.dreamer), part, value)
    with pytest.raises(CheckpointError, match="mine cannot play: it does not give finite actions"):
        DreamerBrain(agent, name="mine", digest="d").self_test()


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("part", PARTS_IN_PLAY)
def test_a_network_that_breaks_in_play_does_not_decide(debug_config: Config, part: str, deterministic: bool) -> None:
    agent, answered = Dreamer(debug_config.dreamer), AnswerLog()
    brain = DreamerBrain(agent, name="mine", digest="d", deterministic=deterministic)
    with running(make_engine(brain, answered)) as engine:
        player = Player(engine, play_obs(2))
        player.run()
        damaged(agent, part)
        player.run()
    assert answered.sources == [Source.POLICY] * 2 + [Source.BAD_OUTPUT] * 2


def test_the_self_test_finds_a_state_that_does_not_reset(
    agent: Dreamer, brain: DreamerBrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(state: State, obs: Tensor, is_first: Tensor, **settings: Any) -> tuple[State, Tensor]:
        return Dreamer.act(agent, state, obs, torch.zeros_like(is_first), **settings)

    monkeypatch.setattr(agent, "act", act)
    with pytest.raises(CheckpointError, match="its memory of a round does not end"):
        brain.self_test()


class Player(threading.Thread):
    """Plays one match through an engine, as fast as the answers come."""

    def __init__(self, engine, rows: list[list[float]]) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.engine, self.rows, self.actions = engine, rows, list[Action]()

    def run(self) -> None:
        session, inbox = Session("m"), Inbox()
        self.engine.open_session(session)
        for obs in self.rows:
            self.engine.submit(session, obs, inbox)
            self.actions.append(inbox.next())
        self.engine.close_session(session)


def test_what_a_match_samples_does_not_depend_on_the_matches_beside_it(debug_config: Config) -> None:
    played = []
    for busy in (False, True):
        brain = DreamerBrain(Dreamer(debug_config.dreamer, seed=3), name="mine", digest="d", deterministic=False)
        slots, obs, sent = [brain.open(), brain.open(), brain.open()], observations(12), []
        for step in range(12):
            here = [slots[2], slots[0], slots[1]] if busy and step % 3 else [slots[1]]
            row = here.index(slots[1])
            seen = observations(len(here), seed=100 + step)
            seen[row] = obs[step]
            action = brain.act(here, seen, first(len(here), step == 0), np.zeros((len(here), 4), np.float32))
            sent.append(action[row].tolist())
        played.append(sent)
    assert played[0] == played[1]


@settings(max_examples=15)
@given(order=st.lists(st.integers(0, 5), min_size=20, max_size=70), bursts=st.lists(st.integers(1, 6), min_size=1))
def test_matches_in_any_order_are_played_as_if_alone(agent: Dreamer, order: list[int], bursts: list[int]) -> None:
    """Steps arrive in bursts of random matches, a finished match makes place for the next one in its slot."""
    script = {match: play_obs(order.count(match), match) for match in set(order)}
    inboxes = {match: Inbox() for match in script}
    sessions: dict[int, Session] = {}
    actions: dict[int, list[list[float]]] = {match: [] for match in script}
    with running(make_engine(DreamerBrain(agent, name="mine", digest="d"))) as engine:
        place = turn = 0
        while place < len(order):
            burst = order[place : place + bursts[turn % len(bursts)]]
            for match in burst:
                if match not in sessions:
                    sessions[match] = Session(str(match))
                    engine.open_session(sessions[match])
                session = sessions[match]
                engine.submit(session, script[match][session.steps], inboxes[match])
                if session.steps == len(script[match]):
                    engine.close_session(session)
            for match in burst:
                actions[match].append(list(inboxes[match].next()))
            place, turn = place + len(burst), turn + 1
    assert actions == {match: alone(agent, rows) for match, rows in script.items()}

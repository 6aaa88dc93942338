"""Players: the slot contract, the basic opponents' chance, the dreamer's table of states, users' classes."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from competitor.config import Config
from competitor.errors import PlayerError
from competitor.players import (
    BasicPlayer,
    DreamerPlayer,
    ForeignPlayer,
    Player,
    RandomPlayer,
    SampledDreamer,
    SeededPlayer,
    clean_actions,
    make_player,
    specs,
)
from competitor.rink import BasicOpponent
from dreamer.agent import Dreamer
from dreamer.checkpoint import save_checkpoint
from dreamer.errors import CheckpointError

SLOTS = 5
NEVER = np.zeros(SLOTS, dtype=np.bool_)
ALWAYS = np.ones(SLOTS, dtype=np.bool_)


def observations(seed: int = 0, slots: int = SLOTS) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(slots, 18)).astype(np.float32)


@pytest.fixture
def agent(debug_config: Config) -> Dreamer:
    return Dreamer(debug_config.dreamer, seed=3)


def everybody(agent: Dreamer) -> list[Player]:
    return [
        BasicPlayer(weak=True),
        BasicPlayer(weak=False),
        RandomPlayer(0),
        DreamerPlayer(agent, "dreamer"),
        DreamerPlayer(agent, "drawn", deterministic=False),
        SampledDreamer(agent, "sampled"),
    ]


def test_every_player_gives_clipped_actions_and_leaves_idle_slots_alone(agent: Dreamer) -> None:
    obs = observations() * 5
    obs[2] = np.nan
    for player in everybody(agent):
        player.reset(SLOTS)
        actions = player.act(obs, ALWAYS)
        assert actions.shape == (SLOTS, 4) and actions.dtype == np.float32, player.name
        assert np.isfinite(actions).all() and np.abs(actions).max() <= 1.0, player.name
        assert not actions[2].any(), player.name


def test_basic_player_is_the_scalar_opponent_in_every_slot() -> None:
    player = BasicPlayer(weak=False)
    player.reset(SLOTS)
    for slot in range(SLOTS):
        player.begin_round(slot, (7, slot))
    bots = [BasicOpponent(weak=False, generator=np.random.default_rng((7, slot))) for slot in range(SLOTS)]
    for step in range(4):
        obs = observations(step)
        expected = np.array([bot.act(row) for bot, row in zip(bots, obs, strict=True)], dtype=np.float32)
        assert np.array_equal(player.act(obs, ALWAYS if step == 0 else NEVER), expected)


@pytest.mark.parametrize("make", [lambda seed: BasicPlayer(weak=True, seed=seed), RandomPlayer])
def test_chance_comes_from_the_announced_round_not_from_the_slot(make: type[RandomPlayer]) -> None:
    first, second = make(1), make(2)
    assert isinstance(first, SeededPlayer)
    first.reset(SLOTS)
    second.reset(SLOTS)
    first.begin_round(0, (11, 1))
    second.begin_round(4, (11, 1))
    obs = np.repeat(observations()[:1], SLOTS, axis=0)
    assert np.array_equal(first.act(obs, ALWAYS)[0], second.act(obs, ALWAYS)[4])


def test_without_announcements_one_seed_gives_one_sequence() -> None:
    actions = []
    for seed in (5, 5, 6):
        player = RandomPlayer(seed)
        player.reset(SLOTS)
        steps = [player.act(observations(), flags) for flags in (ALWAYS, NEVER, ALWAYS)]
        actions.append(np.concatenate(steps))
    assert np.array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])


def test_dreamer_remembers_until_is_first(agent: Dreamer) -> None:
    player = DreamerPlayer(agent, "dreamer")
    player.reset(SLOTS)
    start = player.act(observations(0), ALWAYS)
    player.act(observations(1), NEVER)
    assert not np.allclose(player.act(observations(0), NEVER), start)
    assert np.allclose(player.act(observations(0), ALWAYS), start, atol=1e-6)


def test_dreamer_state_of_an_idle_slot_waits(agent: Dreamer) -> None:
    idle, steady = DreamerPlayer(agent, "idle"), DreamerPlayer(agent, "steady")
    idle.reset(SLOTS)
    steady.reset(SLOTS)
    blank = np.full((SLOTS, 18), np.nan, dtype=np.float32)
    for player in (idle, steady):
        player.act(observations(0), ALWAYS)
    assert not idle.act(blank, NEVER).any()
    assert np.array_equal(idle.act(observations(1), NEVER), steady.act(observations(1), NEVER))


def test_dreamer_round_that_begins_with_nan_begins_at_the_next_step(agent: Dreamer) -> None:
    player = DreamerPlayer(agent, "dreamer")
    player.reset(SLOTS)
    fresh = player.act(observations(0), ALWAYS)
    player.act(np.full((SLOTS, 18), np.nan, dtype=np.float32), ALWAYS)
    assert np.allclose(player.act(observations(0), NEVER), fresh, atol=1e-6)


def test_dreamer_slot_with_a_broken_state_recovers(agent: Dreamer, monkeypatch: pytest.MonkeyPatch) -> None:
    player = DreamerPlayer(agent, "dreamer")
    player.reset(SLOTS)
    fresh = player.act(observations(0), ALWAYS)
    act = agent.act

    def break_slot_one(state, obs, is_first, **how):  # type: ignore[no-untyped-def]
        state, action = act(state, obs, is_first, **how)
        state["h"][1], action[1] = torch.nan, torch.nan
        return state, action

    monkeypatch.setattr(agent, "act", break_slot_one)
    assert not player.act(observations(0), NEVER)[1].any()
    monkeypatch.undo()
    actions = player.act(observations(0), NEVER)
    assert np.allclose(actions[1], fresh[1], atol=1e-6)
    assert np.isfinite(actions).all()


def test_dreamer_without_shooting_plays_where_there_is_none(debug_config: Config) -> None:
    player = DreamerPlayer(Dreamer(debug_config.dreamer, 16, 3), "no-keep")
    player.reset(SLOTS)
    with pytest.raises(PlayerError, match="16 observations"):
        player.act(observations(), ALWAYS)
    actions = player.act(observations()[:, :16], ALWAYS)
    assert actions.shape == (SLOTS, 4) and not actions[:, 3].any()


def test_clean_actions() -> None:
    cleaned = clean_actions([[np.nan, np.inf, -np.inf, 7.0]], 1)
    assert cleaned.tolist() == [[0.0, 1.0, -1.0, 1.0]]
    for wrong in ([[1.0, 2.0]], [["a"] * 4], None, [[[0.0] * 4]]):
        with pytest.raises(PlayerError, match="shape"):
            clean_actions(wrong, 1)


def test_make_player_by_name_and_from_a_checkpoint(agent: Dreamer, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "mine.safetensors", agent, {})
    original = DreamerPlayer(agent, "original")
    assert all(make_player(spec, seed=0).name == spec for spec in ("weak", "strong", "random"))
    for path in (tmp_path / "mine.safetensors", tmp_path / "mine"):
        player = make_player(str(path), seed=0)
        assert player.name == str(path)
        for either in (player, original):
            either.reset(SLOTS)
        assert np.array_equal(player.act(observations(), ALWAYS), original.act(observations(), ALWAYS))


def test_champion_is_the_shipped_checkpoint(agent: Dreamer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specs, "shipped", lambda name: tmp_path / name)
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*checkpoints/champion\.safetensors"):
        make_player("champion", seed=0)
    (tmp_path / "checkpoints").mkdir()
    save_checkpoint(tmp_path / "checkpoints/champion", agent, {})
    assert make_player("champion", seed=0).name == "champion"


def test_a_sampled_player_goes_on_from_what_another_remembered(agent: Dreamer) -> None:
    player, heir = SampledDreamer(agent, "player"), SampledDreamer(agent, "heir")
    player.reset(SLOTS)
    player.begin_round(1, (7, 0))
    player.act(observations(), ALWAYS)
    heir.reset(1)
    heir.remember(player.memory())
    again = [one.act(observations(), NEVER) for one in (player, heir)]
    assert np.array_equal(*again)
    heir.remember(SampledDreamer(agent, "who has not played yet").memory())
    heir.reset(SLOTS)
    assert heir.act(observations(), ALWAYS).shape == (SLOTS, 4)


def test_sampled_player_repeats_itself_with_its_seed(agent: Dreamer, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "mine.safetensors", agent, {})
    actions = []
    for seed in (1, 1, 2):
        player = make_player(str(tmp_path / "mine.safetensors"), seed=seed, deterministic=False)
        player.reset(SLOTS)
        actions.append(player.act(observations(), ALWAYS))
    assert np.array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])


@pytest.mark.parametrize("spec", ["wek", "", "checkpoint"])
def test_unknown_player_names_what_exists(spec: str) -> None:
    with pytest.raises(PlayerError, match=f"'{spec}'.*weak, strong, random, champion.*module:Class"):
        make_player(spec, seed=0)


def test_a_run_is_its_best_checkpoint(agent: Dreamer, tmp_path: Path) -> None:
    run = tmp_path / "runs.d" / "first"
    (run / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"no best checkpoint yet: its newest one is .*checkpoints/latest"):
        make_player(str(run), seed=0)
    save_checkpoint(run / "checkpoints" / "best", agent, {})
    player = make_player(str(run), seed=0)
    player.reset(SLOTS)
    assert isinstance(player, DreamerPlayer) and player.name == str(run)
    assert np.isfinite(player.act(observations(), ALWAYS)).all()


def test_a_file_of_another_kind_or_none_is_told(tmp_path: Path) -> None:
    for name, words in (("foreign.pt", "is no checkpoint: those are"), ("mine.zip", "stable-baselines3 is sb3:")):
        (tmp_path / name).touch()
        with pytest.raises(CheckpointError, match=words):
            make_player(str(tmp_path / name), seed=0)
    for name in ("nothing.safetensors", "nothing"):
        with pytest.raises(CheckpointError, match=r"there is no checkpoint .*nothing\.safetensors"):
            make_player(str(tmp_path / name), seed=0)


USER_CLASSES = """
import signal

import numpy as np
import torch

class Good:
    def reset(self, slots):
        self.slots = slots
    def act(self, obs, is_first):
        assert np.isfinite(obs).all()
        return [[9.0, 0.5, float("nan"), 0.0]] * self.slots

class Wrong(Good):
    def act(self, obs, is_first):
        return np.zeros(3)

class Raising(Good):
    def act(self, obs, is_first):
        raise KeyError("my own mistake")

class Unready(Good):
    def reset(self, slots):
        raise OSError("no model file")

class Unspeakable(Exception):
    def __str__(self):
        raise ValueError


class Silent(Good):
    def act(self, obs, is_first):
        raise Unspeakable


class Coloured(Good):
    def act(self, obs, is_first):
        raise ValueError("\x1b[31mred")


class Leaving(Good):
    def act(self, obs, is_first):
        raise SystemExit


class Imaginary(Good):
    def act(self, obs, is_first):
        return np.full((self.slots, 4), 1j)


class Inferring(Good):
    def reset(self, slots):
        super().reset(slots)
        torch.set_grad_enabled(False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def act(self, obs, is_first):
        assert not torch.is_grad_enabled()
        return super().act(obs, is_first)


class Needy(Good):
    def __init__(self, argument):
        pass

class Mute:
    def reset(self, slots):
        pass

class Shut:
    reset = property(lambda self: exit(3))
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_players.py").write_text(USER_CLASSES)
    (tmp_path / "broken_players.py").write_text("def oops(:")
    monkeypatch.chdir(tmp_path)
    return "my_players"


def test_user_class_from_the_current_directory(user_module: str) -> None:
    player = make_player(f"{user_module}:Good", seed=0)
    assert isinstance(player, ForeignPlayer) and player.name == "my_players:Good"
    player.reset(SLOTS)
    blank = np.full((SLOTS, 18), np.nan, dtype=np.float32)
    assert np.array_equal(player.act(blank, NEVER), np.tile(np.float32([1, 0.5, 0, 0]), (SLOTS, 1)))


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("my_players:Absent", "cannot be loaded: AttributeError"),
        ("my_players:Needy", "cannot be loaded: TypeError.*argument"),
        ("my_players:Mute", "has no act()"),
        ("my_players:Shut", r"it called sys.exit\(3\)"),
        ("absent_module:Class", "cannot be loaded: ModuleNotFoundError"),
        ("broken_players:Class", "cannot be loaded: SyntaxError"),
        (":", "cannot be loaded: ValueError"),
    ],
)
def test_user_class_that_cannot_be_loaded(user_module: str, spec: str, sentence: str) -> None:
    with pytest.raises(PlayerError, match=sentence) as caught:
        make_player(spec, seed=0)
    assert "\n" not in str(caught.value) and spec in str(caught.value)


def test_user_class_that_fails_in_play(user_module: str) -> None:
    for name, sentence in (
        ("Raising", "my own mistake"),
        ("Wrong", r"must have shape \(5, 4\), not \(3,\)"),
        ("Silent", "Unspeakable"),
        ("Coloured", r"ValueError: \\x1b\[31mred"),
        ("Leaving", r"it called sys.exit\(None\)"),
        ("Imaginary", r"must be numbers of shape \(5, 4\): they are complex"),
    ):
        player = make_player(f"my_players:{name}", seed=0)
        player.reset(SLOTS)
        with pytest.raises(PlayerError, match=rf"my_players:{name}.*{sentence}"):
            player.act(observations(), NEVER)
    with pytest.raises(PlayerError, match=r"reset\(\): OSError: no model file"):
        make_player("my_players:Unready", seed=0).reset(SLOTS)


def test_a_user_class_ends_neither_gradients_nor_ctrl_c(user_module: str) -> None:
    interrupt = signal.getsignal(signal.SIGINT)
    player = make_player(f"{user_module}:Inferring", seed=0)
    player.reset(SLOTS)
    player.act(observations(), NEVER)
    assert torch.is_grad_enabled() and signal.getsignal(signal.SIGINT) == interrupt

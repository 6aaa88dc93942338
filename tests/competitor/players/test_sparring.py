"""Sparring partners as players: they need NumPy alone, play the same in any batch, and their mistakes are one line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save

from competitor.errors import PlayerError
from competitor.players import make_player
from competitor.players.sparring import (
    PartnerCard,
    SmallPolicy,
    SparringPlayer,
    partner_names,
    partner_path,
    read_partner,
    write_partner,
)
from dreamer.errors import CheckpointError

Array = NDArray[np.float32]

CARD = PartnerCard(name="one", style="a test", held_out=False, activation="relu", squash=True, repeat=1)
PARTNERS = partner_names()


def policy_of(seed: int, *, width: int = 32, tanh_layers: bool = False, squash: bool = True) -> SmallPolicy:
    chance = np.random.default_rng(seed)
    sizes = [18, width, width, 4]
    weights = [chance.normal(0, 0.3, shape).astype(np.float32) for shape in zip(sizes[1:], sizes[:-1], strict=True)]
    biases = [chance.normal(0, 0.1, size).astype(np.float32) for size in sizes[1:]]
    return SmallPolicy(weights, biases, tanh_layers=tanh_layers, squash=squash)


def observations(rows: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 3, (rows, 18)).astype(np.float32)


def first(slots: int, value: bool = True) -> NDArray[np.bool_]:
    return np.full(slots, value)


@pytest.fixture
def partner_file(tmp_path: Path) -> Path:
    path = tmp_path / "one.safetensors"
    write_partner(path, policy_of(1), CARD)
    return path


def test_a_policy_is_the_formula_of_its_layers() -> None:
    obs = observations(1)[0]
    for tanh_layers, squash in ((False, True), (True, False)):
        policy = policy_of(2, tanh_layers=tanh_layers, squash=squash)
        layer = np.tanh if tanh_layers else lambda x: np.maximum(x, 0)
        values = obs.astype(np.float64)
        for weight, bias in zip(policy.weights[:2], policy.biases[:2], strict=True):
            values = layer(weight.astype(np.float64) @ values + bias)
        values = policy.weights[2].astype(np.float64) @ values + policy.biases[2]
        np.testing.assert_allclose(policy.act(obs), np.tanh(values) if squash else values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["file", *PARTNERS])
def test_a_batch_plays_what_each_slot_plays_alone_bit_for_bit(name: str, partner_file: Path) -> None:
    path = partner_file if name == "file" else partner_path(name)
    policy, card = read_partner(path)
    obs = observations(67)
    batch = SparringPlayer(policy, name, repeat=card.repeat)
    batch.reset(67)
    together = batch.act(obs, first(67))
    for slot in range(67):
        single = SparringPlayer(policy, name, repeat=card.repeat)
        single.reset(1)
        assert np.array_equal(single.act(obs[slot : slot + 1], first(1))[0], together[slot])
    shifted = SparringPlayer(policy, name, repeat=card.repeat)
    shifted.reset(40)
    assert np.array_equal(shifted.act(obs[27:], first(40)), together[27:])


def test_an_action_is_kept_for_its_frames_and_a_round_begins_anew() -> None:
    player = SparringPlayer(policy_of(3), "slow", repeat=3)
    player.reset(2)
    seen = observations(8)
    actions = [player.act(np.stack([seen[time], seen[time]]), first(2, time == 0)) for time in range(4)]
    assert np.array_equal(actions[0], actions[1]) and np.array_equal(actions[1], actions[2])
    assert not np.array_equal(actions[2], actions[3])
    only_second = np.array([False, True])
    again = player.act(np.stack([seen[5], seen[6]]), only_second)
    assert np.array_equal(again[0], actions[3][0])
    assert not np.array_equal(again[1], actions[3][1])


def test_an_idle_slot_gets_zeros_and_keeps_its_action() -> None:
    player = SparringPlayer(policy_of(4), "slow", repeat=2)
    player.reset(1)
    begun = player.act(observations(1), first(1))
    idle = player.act(np.full((1, 18), np.nan, np.float32), first(1, False))
    assert not idle.any()
    assert np.array_equal(player.act(observations(1, seed=9), first(1, False)), begun)


def test_actions_stay_finite_and_bounded_for_absurd_observations() -> None:
    for squash in (True, False):
        player = SparringPlayer(policy_of(5, squash=squash), "one", repeat=1)
        player.reset(3)
        obs = observations(3)
        obs[0] = np.sign(obs[0]) * np.finfo(np.float32).max
        obs[1] = np.finfo(np.float32).max
        actions = player.act(obs, first(3))
        assert np.isfinite(actions).all() and np.abs(actions).max() <= 1.0


def test_a_rink_without_keep_mode_is_refused() -> None:
    player = SparringPlayer(policy_of(6), "one", repeat=1)
    player.reset(1)
    with pytest.raises(PlayerError, match="18 observations, the rink has 16"):
        player.act(observations(1)[:, :16], first(1))


def test_files_give_the_same_policy_back(partner_file: Path) -> None:
    policy, card = read_partner(partner_file)
    assert card == CARD
    for written, read in zip(policy_of(1).tensors().values(), policy.tensors().values(), strict=True):
        assert np.array_equal(written, read)


NO_LIBRARIES = """
import sys
for name in ("jax", "jaxlib", "flax", "optax", "sbx", "stable_baselines3"):
    sys.modules[name] = None
import numpy as np
from competitor.players import make_player
for spec in sys.argv[1:]:
    player = make_player(spec, seed=0)
    player.reset(2)
    actions = player.act(np.ones((2, 18), np.float32), np.ones(2, bool))
    assert actions.shape == (2, 4) and np.abs(actions).max() > 0, spec
print("played", len(sys.argv) - 1)
"""


def test_partners_load_and_play_without_jax_or_stable_baselines(partner_file: Path) -> None:
    specs = [f"sparring:{partner_file}", *(f"sparring:{name}" for name in PARTNERS)]
    ran = subprocess.run([sys.executable, "-c", NO_LIBRARIES, *specs], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == f"played {len(specs)}", ran.stderr


def test_an_unknown_partner_is_named_with_those_there_are() -> None:
    with pytest.raises(PlayerError, match="there is no sparring partner nobody; there are: "):
        make_player("sparring:nobody", seed=0)


def test_a_path_needs_neither_suffix_nor_folder(partner_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(partner_file.parent)
    for spec in ("sparring:./one", "sparring:one.safetensors", f"sparring:{partner_file.with_suffix('')}"):
        assert make_player(spec, seed=0).name == spec


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.with_suffix(".json").unlink(), "one.json cannot be read"),
        (lambda path: path.with_suffix(".json").write_text("{}"), "not the card of a sparring partner: name"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "cannot be read as weights"),
        (lambda path: change(path, {"1.bias": None}), "lacks the tensor '1.bias'"),
        (lambda path: change(path, {"2.weight": np.zeros((4, 31), np.float32)}), "do not lead from 18 numbers to 4"),
        (lambda path: change(path, {"0.bias": np.full(32, np.nan, np.float32)}), "not finite"),
        (lambda path: change(path, {"0.bias": np.ones(32, np.int32)}), "not all float32"),
        (lambda path: save_torch(path, torch.bfloat16), "weights of the type 'BF16' are not understood"),
    ],
)  # fmt: skip
def test_damaged_files_are_named(partner_file: Path, damage: object, said: str) -> None:
    damage(partner_file)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=said):
        make_player(f"sparring:{partner_file}", seed=0)


def save_torch(path: Path, kind: torch.dtype) -> None:
    path.write_bytes(save({name: value.to(kind) for name, value in load(path.read_bytes()).items()}))


def change(path: Path, changes: dict[str, Array | None]) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = {**load_file(path), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)


def test_a_card_of_a_newer_format_is_refused(partner_file: Path) -> None:
    file = partner_file.with_suffix(".json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    with pytest.raises(CheckpointError, match="format"):
        read_partner(partner_file)


@pytest.mark.parametrize("name", PARTNERS)
def test_a_partner_that_ships_is_small_and_strong_enough(name: str) -> None:
    path = partner_path(name)
    policy, card = read_partner(path)
    assert path.stat().st_size < 400_000
    assert card.name == name and card.plays["rounds"]
    strong, champion = card.results["strong"], card.results["champion"]
    rounds = sum(strong[key] for key in ("won", "drawn", "lost"))
    assert rounds >= 200
    assert strong["won"] / rounds >= 0.7 or champion["points"] > 0.5

import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint, load_training_state, read_card, save_checkpoint, save_training_state
from dreamer.errors import CheckpointError
from dreamer.files import atomic_write
from tests.dreamer.tiny import filled_buffer, tiny_agent, tiny_config


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "agent", tiny_agent(), {"preset": "tiny", "code_version": "1"})
    return tmp_path / "agent.safetensors"


@pytest.mark.parametrize("name", ["agent", "agent.safetensors", "agent.json"])
def test_a_checkpoint_comes_back_whole(saved: Path, name: str) -> None:
    agent, card = load_checkpoint(saved.with_name(name))
    ours, theirs = tiny_agent().state_dict(), agent.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert card["preset"] == "tiny" and card["obs_size"] == 3 and card["updates"] == 0


def test_names_with_dots_keep_them(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "step-1.5", tiny_agent(), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-1.5.json", "step-1.5.safetensors"]
    load_checkpoint(tmp_path / "step-1.5")


def change_card(saved: Path, **values: object) -> None:
    card_path = saved.with_suffix(".json")
    card_path.write_text(json.dumps(json.loads(card_path.read_text()) | values))


def truncate(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:1000])


def flip_one_bit(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-1] ^= 1
    saved.write_bytes(bytes(data))


DAMAGE = {
    "missing weights": (lambda saved: saved.unlink(), "cannot read"),
    "missing card": (lambda saved: saved.with_suffix(".json").unlink(), "cannot read"),
    "truncated": (truncate, "damaged"),
    "one bit": (flip_one_bit, "damaged"),
    "card is no JSON": (lambda saved: saved.with_suffix(".json").write_bytes(b"\x80\x00"), "not JSON"),
    "foreign": (lambda saved: saved.with_suffix(".json").write_text("{}"), "not the card"),
    "from the future": (lambda saved: change_card(saved, format_version=99), "format version 99"),
    "unknown setting": (lambda saved: change_card(saved, config={"model": {"depth": 3}}), "does not know"),
    "other sizes": (lambda saved: change_card(saved, obs_size=4), "do not fit"),
    "nonsense sizes": (lambda saved: change_card(saved, obs_size="many"), "does not know"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_understood_is_refused_in_one_sentence(saved: Path, damage: str) -> None:
    spoil, message = DAMAGE[damage]
    spoil(saved)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(saved)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        read_card(tmp_path / "nothing")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, fail)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_writing_where_nothing_can_be_written_is_a_checkpoint_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write"):
        save_checkpoint(tmp_path / "file" / "agent", tiny_agent(), {})


class Killed(BaseException):
    """Stands for the end of the process at that moment."""


def test_weights_and_card_are_switched_by_one_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any change of a file, the checkpoint is the old one or the new one, whole."""
    old, new = tiny_agent(), Dreamer(tiny_config(), obs_size=3, action_size=2, seed=2)
    met = []
    for moment in range(20):
        path = tmp_path / str(moment) / "best"
        save_checkpoint(path, old, {"made": "old"})
        left = itertools.count()
        with monkeypatch.context() as patch:
            for name in ("fsync", "replace"):
                patch.setattr(os, name, killed_at(moment, left, getattr(os, name)))
            try:
                save_checkpoint(path, new, {"made": "new"})
                ended = True
            except Killed:
                ended = False
        agent, card = load_checkpoint(path)
        expected = {"old": old, "new": new}[card["made"]].state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in agent.state_dict().items())
        assert read_card(path) == card
        met.append(card["made"])
        if ended:
            break
        save_checkpoint(path, new, {"made": "newest"})
        assert load_checkpoint(path)[1]["made"] == "newest"
    assert met == sorted(met, reverse=True) and 5 <= len(met) < 20 and met[-2] == "new"


def killed_at(moment: int, numbers: Iterator[int], change: Callable[..., object]) -> Callable[..., object]:
    def call(*arguments: object) -> object:
        if next(numbers) == moment:
            raise Killed
        return change(*arguments)

    return call


@pytest.mark.parametrize("text", ["null", "[]", "{}", '{"updates": true}', '{"updates": 1e999}', "[" * 100_000])
def test_absurd_counters_of_a_training_state_are_one_error(text: str, tmp_path: Path) -> None:
    agent = tiny_agent()
    agent.train_step(filled_buffer(agent.config).sample())
    save_training_state(tmp_path, agent)
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(CheckpointError, match="the training state in .* is damaged"):
        load_training_state(tmp_path, agent)


@pytest.mark.parametrize("kind", ["laprop", "adam"])
def test_a_resumed_agent_makes_the_updates_that_the_unbroken_one_makes(tmp_path: Path, kind: str) -> None:
    agent = tiny_agent(optimizer={"kind": kind, "epsilon": 1e-8, "warmup": 5})
    buffer = filled_buffer(agent.config)
    for _ in range(3):
        agent.train_step(buffer.sample())
    save_checkpoint(tmp_path / "agent", agent, {})
    save_training_state(tmp_path, agent)
    resumed, _ = load_checkpoint(tmp_path / "agent")
    load_training_state(tmp_path, resumed)
    assert resumed.updates == 3
    for _ in range(3):
        batch = buffer.sample()
        assert agent.train_step(batch) == resumed.train_step(batch)
    ours, theirs = agent.state_dict(), resumed.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_training_state_of_another_model_is_refused(tmp_path: Path) -> None:
    agent = tiny_agent()
    agent.train_step(filled_buffer(agent.config).sample())
    save_training_state(tmp_path, agent)
    with pytest.raises(CheckpointError, match="another model"):
        load_training_state(tmp_path, tiny_agent(model={"hidden": 24}))
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(CheckpointError, match="damaged"):
        load_training_state(tmp_path, agent)

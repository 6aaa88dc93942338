import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint, load_training_state, read_card, save_checkpoint, save_training_state
from dreamer.errors import CheckpointError
from dreamer.files import atomic_write
from dreamer.update import Updater
from tests.dreamer.tiny import filled_buffer, tiny_agent, tiny_config, tiny_updater


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


def rewritten(saved: Path, tensors: dict[str, torch.Tensor], card: bytes) -> None:
    """A file whose digests are right, whatever it says."""
    digest = hashlib.sha256(card).hexdigest()
    saved.write_bytes(save(tensors, {"card": card.decode(), "card_sha256": digest}))


def change_card(saved: Path, **values: object) -> None:
    tensors, card = load_file(saved), read_card(saved)
    rewritten(saved, tensors, json.dumps(card | values).encode())


def change_setting(saved: Path, section: str, **values: object) -> None:
    config = read_card(saved)["config"]
    change_card(saved, config=config | {section: config[section] | values})


def change_weights(saved: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(saved)
    tensors["world_model.encoder.0.weight"] = change(tensors["world_model.encoder.0.weight"])
    card = read_card(saved) | {"sha256": hashlib.sha256(save(tensors)).hexdigest()}
    rewritten(saved, tensors, json.dumps(card).encode())


def truncate(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[: saved.stat().st_size - 1000])


def flip_one_bit(saved: Path, place: int = -1) -> None:
    data = bytearray(saved.read_bytes())
    data[place] ^= 1
    saved.write_bytes(bytes(data))


def change_text(saved: Path, text: bytes) -> None:
    rewritten(saved, load_file(saved), text)


DEEP = b'{"format": "hockey-dreamer", "format_version": 2, "config": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing weights": (lambda saved: saved.unlink(), "cannot read"),
    "truncated": (truncate, "damaged"),
    "no header": (lambda saved: saved.write_bytes(b"\xff" * 100), "damaged"),
    "empty": (lambda saved: saved.write_bytes(b""), "damaged"),
    "one bit": (flip_one_bit, "damaged"),
    "one bit of the card": (lambda saved: flip_one_bit(saved, saved.read_bytes().index(b"preset") + 12), "damaged"),
    "card is no JSON": (lambda saved: change_text(saved, b"{"), "not JSON"),
    "a deep card": (lambda saved: change_text(saved, DEEP), "not JSON"),
    "foreign": (lambda saved: change_text(saved, b"{}"), "not the card"),
    "null": (lambda saved: change_text(saved, b"null"), "not the card"),
    "from the future": (lambda saved: change_card(saved, format_version=99), "format version 99"),
    "unknown setting": (lambda saved: change_card(saved, config={"model": {"depth": 3}}), "does not know"),
    "other sizes": (lambda saved: change_card(saved, obs_size=4), "do not fit"),
    "nonsense sizes": (lambda saved: change_card(saved, obs_size="many"), "does not know"),
    "size as text": (lambda saved: change_card(saved, obs_size="3"), "obs_size: Input should be a valid integer"),
    "size as fraction": (lambda saved: change_card(saved, obs_size=3.0), "obs_size: Input should be a valid integer"),
    "size as truth": (lambda saved: change_card(saved, action_size=True), "action_size: Input should be a valid"),
    "endless updates": (lambda saved: change_card(saved, updates=float("inf")), "updates: Input should be"),
    "negative updates": (lambda saved: change_card(saved, updates=-1), "updates: Input should be"),
    "huge layers": (lambda saved: change_setting(saved, "model", hidden=10**7), "config.model.hidden"),
    "layers too large for a laptop": (lambda saved: change_setting(saved, "model", hidden=4096), "do not fit"),
    "layer as text": (lambda saved: change_setting(saved, "model", hidden="16"), "config.model.hidden"),
    "waves": (
        lambda saved: change_setting(saved, "model", input_waves=3),
        "input_waves was a setting until version 0.3",
    ),
    "nan": (lambda saved: change_weights(saved, lambda weight: weight * torch.nan), "weights are not finite"),
    "integers": (lambda saved: change_weights(saved, lambda weight: weight.int()), "do not fit"),
    "other shape": (lambda saved: change_weights(saved, lambda weight: weight[:3]), "do not fit"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_understood_is_refused_in_one_sentence(saved: Path, damage: str) -> None:
    spoil, message = DAMAGE[damage]
    spoil(saved)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(saved)
    assert "\n" not in str(caught.value)


def test_the_copy_of_the_card_is_never_read(saved: Path) -> None:
    """A kill between the two renames leaves a card of the checkpoint before."""
    assert json.loads(saved.with_suffix(".json").read_text()) == read_card(saved)
    saved.with_suffix(".json").write_text("{}")
    assert load_checkpoint(saved)[1]["preset"] == "tiny"
    saved.with_suffix(".json").unlink()
    assert load_checkpoint(saved)[1]["preset"] == "tiny"


@pytest.mark.parametrize("retired", [{}, {"input_waves": 0, "input_constant": False}])
def test_checkpoints_of_the_first_format_still_load(tmp_path: Path, retired: dict[str, object]) -> None:
    agent = tiny_agent()
    data = save({key: value.contiguous() for key, value in agent.state_dict().items()})
    (tmp_path / "old.safetensors").write_bytes(data)
    config = agent.config.model_dump(by_alias=True)
    config["model"] |= retired
    config["replay"] |= {"end_share": 0.0} if retired else {}
    card = {"format": "hockey-dreamer", "format_version": 1, "obs_size": 3, "action_size": 2, "updates": 7}
    card |= {"sha256": hashlib.sha256(data).hexdigest(), "config": config}
    (tmp_path / "old.json").write_text(json.dumps(card))
    loaded, _ = load_checkpoint(tmp_path / "old")
    assert loaded.updates == 7
    assert all(torch.equal(value, agent.state_dict()[key]) for key, value in loaded.state_dict().items())
    (tmp_path / "old.json").unlink()
    with pytest.raises(CheckpointError, match="none lies beside it"):
        load_checkpoint(tmp_path / "old")


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
    updater = tiny_updater()
    updater.train_step(filled_buffer(updater.agent.config).sample())
    save_training_state(tmp_path, updater)
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(CheckpointError, match="the training state in .* is damaged"):
        load_training_state(tmp_path, updater)


@pytest.mark.parametrize(("kind", "observed"), [("laprop", False), ("adam", False), ("laprop", True)])
def test_a_resumed_agent_makes_the_updates_that_the_unbroken_one_makes(
    tmp_path: Path, kind: str, observed: bool
) -> None:
    updater = tiny_updater(optimizer={"kind": kind, "warmup": 5}, model={"observed": observed})
    agent = updater.agent
    buffer = filled_buffer(agent.config)
    for _ in range(3):
        updater.train_step(buffer.sample())
    save_checkpoint(tmp_path / "agent", agent, {})
    save_training_state(tmp_path, updater)
    resumed, _ = load_checkpoint(tmp_path / "agent")
    continued = Updater(resumed)
    load_training_state(tmp_path, continued)
    assert resumed.updates == 3
    for _ in range(3):
        batch = buffer.sample()
        assert updater.train_step(batch) == continued.train_step(batch)
    ours, theirs = agent.state_dict(), resumed.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_training_state_of_another_model_is_refused(tmp_path: Path) -> None:
    updater = tiny_updater()
    updater.train_step(filled_buffer(updater.agent.config).sample())
    save_training_state(tmp_path, updater)
    with pytest.raises(CheckpointError, match="another model"):
        load_training_state(tmp_path, tiny_updater(model={"hidden": 24}))
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(CheckpointError, match="damaged"):
        load_training_state(tmp_path, updater)


def test_how_an_older_checkpoint_learned_is_no_reason_to_refuse_it(saved: Path) -> None:
    change_setting(saved, "optimizer", clip=0.0, epsilon=1e-6, deviation_rate=0.5)
    change_setting(saved, "replay", mirror=False)
    assert load_checkpoint(saved)[0].config == tiny_agent().config
    change_setting(saved, "model", unimix=0.5)
    with pytest.raises(CheckpointError, match="unimix was a setting until version 0.3 and is fixed at 0.01 now"):
        load_checkpoint(saved)


def test_a_checkpoint_from_before_lookahead_and_siblings_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    save_checkpoint(path, tiny_agent(), {})
    behavior = {"horizon": 5, "starts": 15, "discount": 0.99}
    change_card(path, config=read_card(path)["config"] | {"behavior": behavior})
    assert (load_checkpoint(path)[0].config.behavior.lookahead, read_card(path)["updates"]) == (0, 0)


def test_a_checkpoint_from_before_observed_states_plays_on_without_them(tmp_path: Path) -> None:
    agent, path = tiny_agent(model={"observed": False}), tmp_path / "old.safetensors"
    save_checkpoint(path, agent, {})
    config = read_card(path)["config"]
    change_card(path, config=config | {"model": {k: v for k, v in config["model"].items() if k != "observed"}})
    loaded, _ = load_checkpoint(path)
    state, obs, first = agent.initial_state(2), torch.ones(2, 3), torch.ones(2).bool()
    assert not loaded.config.model.observed
    assert torch.equal(
        loaded.act(state, obs, first, deterministic=True)[1], agent.act(state, obs, first, deterministic=True)[1]
    )


def test_a_checkpoint_from_before_wider_predictions_keeps_its_narrow_one(tmp_path: Path) -> None:
    agent, path = tiny_agent(model={"observed": True, "prediction_width": 1}), tmp_path / "old.safetensors"
    save_checkpoint(path, agent, {})
    config = read_card(path)["config"]
    del config["model"]["prediction_width"]
    change_card(path, config=config)
    today = tiny_agent(model={"observed": True})
    old, new = (one.world_model.dynamics.next_observation.net[0] for one in (load_checkpoint(path)[0], today))
    assert (old.out_features, new.out_features) == (16, 32)


def test_a_run_from_before_there_were_deviations_of_the_state_goes_on(tmp_path: Path) -> None:
    updater = tiny_updater(model={"observed": True})
    batch, world = filled_buffer(updater.agent.config).sample(), updater.agent.world_model
    updater.train_step(batch)
    save_training_state(tmp_path, updater)
    state = load_file(tmp_path / "training.safetensors")
    first = len(updater.world_learner.parameters) - len(list(world.deviation_head.parameters()))
    former = {key: state[key] for key in state if not (key[:5] == "world" and int(key.split(".")[1]) >= first)}
    (tmp_path / "training.safetensors").write_bytes(save(former))
    before = updater.agent.state_dict()
    del world.deviation_head
    save_checkpoint(tmp_path / "agent", updater.agent, {})
    loaded, _ = load_checkpoint(tmp_path / "agent")
    begun = {key: value.clone() for key, value in loaded.state_dict().items()}
    assert len(former) < len(state) and begun.keys() == before.keys()
    assert not begun["world_model.deviation_head.3.weight"].any()
    continued = Updater(loaded)
    load_training_state(tmp_path, continued)
    continued.train_step(batch)
    assert loaded.state_dict()["world_model.deviation_head.3.weight"].any()


def test_the_kind_of_an_older_checkpoint_follows_from_its_latent(tmp_path: Path) -> None:
    agent, path = tiny_agent(model={"kind": "seed"}), tmp_path / "old.safetensors"
    save_checkpoint(path, agent, {})
    config = read_card(path)["config"]
    del config["model"]["kind"]
    config["model"] |= {"latent": "gaussian", "norm": "none", "normalize": False, "gaussian_size": 64}
    config["loss"] |= {"decoder": "mse", "heads": "mse", "kl_dynamics": 0.1, "free_nats": 0.0}
    config["behavior"] |= {"actor": "tanh_normal", "return_scale": "none", "slow_target": True}
    change_card(path, config=config)
    assert load_checkpoint(path)[0].config == agent.config
    for mixed, said in (
        (config | {"loss": config["loss"] | {"heads": "twohot"}}, "heads was a setting until version 0.3"),
        (config | {"model": config["model"] | {"latent": "categorical"}}, "was a setting until version 0.3"),
        (config | {"model": 3}, "was a setting until version 0.3"),
        (config | {"loss": [], "behavior": None, "model": ["kind"]}, "a model that this version does not know"),
    ):
        save_checkpoint(path, agent, {})
        change_card(path, config=mixed)
        with pytest.raises(CheckpointError, match=said) as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)

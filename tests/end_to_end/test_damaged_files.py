"""Damaged files and names that lead elsewhere, as a user meets them: one line, a code, no harm."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

import cli
from dreamer.checkpoint import read_card
from tests.end_to_end.conftest import Fails, files

CONFIG, CHECKPOINT, RESUME = 3, 4, 9


def current_save(run: Path) -> Path:
    return run / "state" / (run / "state/current").read_text().strip()


@pytest.mark.parametrize("name", ["../../x", "..", ".", "", "a/b", "a\\b", "a\nb", "a\udcffb"])
def test_a_name_of_a_run_leads_nowhere_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = tmp_path / "one" / "two"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert cli.run(["train", "--preset", "debug", "--run", name]) == 2
    assert "is not a plain name" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "one", inner]


@pytest.mark.parametrize("name", ["", " ", "../debug", "[/bold]"])
def test_a_preset_that_is_none(name: str, fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"unknown preset {name!r}" in fails(CONFIG, "train", "--preset", name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["null", "[]", "3", '{"updates": null, "format": 1}', "{", "[" * 100_000])
@pytest.mark.parametrize("name", ["trainer.json", "training.json", "replay.json", "player.json"])
def test_a_state_file_that_is_none(name: str, text: str, fails: Fails, run_copy: Path) -> None:
    (current_save(run_copy) / name).write_text(text)
    before = files(run_copy)
    assert name in fails(RESUME, "train", "--resume", str(run_copy))
    assert files(run_copy) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("null", "the whole: "),
        ("[" * 100_000, "the whole: "),
        ('{"device": -1, "precision": "float32", "kernels": "plain", "why": ""}', "device: "),
        ('{"device": null, "precision": "float32", "kernels": "plain", "why": ""}', "device: "),
        ('{"device": "cpu", "kernels": 7, "why": ""}', "kernels: "),
    ],
)
def test_a_placement_that_is_none(text: str, words: str, fails: Fails, run_copy: Path) -> None:
    (run_copy / "placement.json").write_text(text)
    before = files(run_copy)
    line = fails(RESUME, "train", "--resume", str(run_copy))
    assert f"placement.json cannot be read ({words}" in line
    assert files(run_copy) == before


@pytest.mark.parametrize("text", ["null", "[]", '{"preset": null}', '{"preset": [1]}', "{", "[" * 100_000])
def test_a_version_that_is_none_costs_nobody_a_run(text: str, run_copy: Path) -> None:
    (run_copy / "version.json").write_text(text)
    assert cli.run(["train", "--resume", str(run_copy)]) == 0
    assert read_card(run_copy / "checkpoints/latest")["preset"] == "default"


SPOILT: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "NaN": (lambda weight: weight * torch.nan, "some of its weights are not finite"),
    "infinite": (lambda weight: weight + torch.inf, "some of its weights are not finite"),
    "int32": (lambda weight: weight.int(), "do not fit the model that its card describes"),
}


def change(weights: Path, **changes: Callable[[Tensor], Tensor] | None) -> None:
    """Change tensors of a file without a card by the ends of their names; None takes them away."""
    tensors = load_file(weights)
    for end, by in changes.items():
        name = next(name for name in tensors if name.endswith(end))
        tensors |= {} if by is None else {name: by(tensors[name]).contiguous()}
        tensors = tensors if by else {key: value for key, value in tensors.items() if key != name}
    weights.write_bytes(save(tensors))


@pytest.mark.parametrize(
    ("file", "end", "by"),
    [
        *(("players", end, None) for end in ("h", "is_fresh")),
        *(("players", "h", by) for by in (Tensor.double, Tensor.int, lambda h: h[:, :-1], lambda h: h[:1], Tensor.sum)),
        ("players", "is_fresh", Tensor.float),
        ("players", "is_fresh", lambda fresh: fresh[:-1]),
        *(("training", end, None) for end in ("count", "mean", "square")),
        ("average", "bias", Tensor.int),
        ("playing", "bias", Tensor.double),
    ],
)
def test_tensors_of_a_save_that_nobody_can_train_with(
    file: str, end: str, by: Callable[[Tensor], Tensor] | None, fails: Fails, run_copy: Path
) -> None:
    change(current_save(run_copy) / f"{file}.safetensors", **{end: by})
    before = files(run_copy)
    assert "damaged" in fails(RESUME, "train", "--resume", str(run_copy))
    assert files(run_copy) == before


def test_a_number_that_is_none_among_the_metrics_of_a_save(fails: Fails, run_copy: Path) -> None:
    (current_save(run_copy) / "player.json").write_text(f'{{"skipped": 0.0, "loss": {10**400}}}')
    assert "damaged" in fails(RESUME, "train", "--resume", str(run_copy))


def spoil(weights: Path, how: str) -> str:
    """Change every number of a checkpoint, with right digests; returns what has to be said of it."""
    change, words = SPOILT[how]
    tensors = {name: change(value.float()) for name, value in load_file(weights).items()}
    card = json.dumps(read_card(weights) | {"sha256": hashlib.sha256(save(tensors)).hexdigest()})
    metadata = {"card": card, "card_sha256": hashlib.sha256(card.encode()).hexdigest()}
    weights.write_bytes(save(tensors, metadata))
    return words


@pytest.mark.parametrize("how", ["NaN", "int32"])
@pytest.mark.parametrize(
    "command",
    [
        ["info", "CHECKPOINT"],
        ["inspect", "CHECKPOINT"],
        ["evaluate", "CHECKPOINT", "--rounds", "2"],
        ["evaluate", "weak", "--against", "CHECKPOINT", "--rounds", "2"],
        ["evaluate", "weak", "--against", "CHECKPOINT", "--cross", "--rounds", "2"],
        ["train", "--preset", "debug", "--run", "second", "--set", 'league.opponents."CHECKPOINT"=0.5'],
        ["compete", "CHECKPOINT", "--server", "127.0.0.1:1", "--set", "compete.attempts=1"],
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_weights_that_nobody_can_play_with(
    how: str, command: list[str], fails: Fails, run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRL_ACCESS_TOKEN", "token")
    weights = run_copy / "checkpoints/latest.safetensors"
    words = spoil(weights, how)
    line = fails(CHECKPOINT, *(word.replace("CHECKPOINT", str(weights)) for word in command))
    assert str(weights) in line and words in line
    assert not (run_copy.parent / "second").exists()


@pytest.mark.parametrize("how", SPOILT)
def test_a_save_with_weights_that_nobody_can_train_with(how: str, fails: Fails, run_copy: Path) -> None:
    words = spoil(current_save(run_copy) / "agent.safetensors", how)
    assert words in fails(RESUME, "train", "--resume", str(run_copy))


@pytest.mark.parametrize("how", SPOILT)
def test_a_member_of_the_league_that_cannot_play(how: str, fails: Fails, run_copy: Path) -> None:
    words = {spoil(weights, how) for weights in run_copy.glob("league/*.safetensors")}.pop()
    assert words in fails(RESUME, "train", "--resume", str(run_copy))

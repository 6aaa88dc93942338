"""`export`: what is written plays like the agent, without torch, whatever the agent is made of."""

import errno
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cli
from competitor.export import numpy_code
from competitor.export.numpy_code import write_numpy
from competitor.export.step import Step, compare, play_to_compare
from competitor.players import DreamerPlayer
from dreamer.agent import Dreamer
from dreamer.checkpoint import save_checkpoint
from tests.dreamer.tiny import tiny_config
from tests.end_to_end.conftest import fails  # noqa: F401

ABOUT = {"name": 'a "name"\nwith \\ signs', "digest": "ab", "version": "1"}
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "observed": {"model": {"observed": True}},
    "seed": {"model": {"kind": "seed"}},
}


def lively_agent(kind: str, action_size: int = 4) -> Dreamer:
    """An agent whose weights are all different from each other, so that a wrong one shows."""
    sections = {name: {**vars(tiny_config())[name].model_dump(), **more} for name, more in KINDS[kind].items()}
    agent = Dreamer(tiny_config(**sections), 18 if action_size == 4 else 16, action_size, seed=1)
    chance = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=chance))
    agent.fit_normalizer(torch.randn(50, agent.obs_size, generator=chance))
    return agent


def test_rounds_are_counted_while_others_are_played(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, act, counted = [], DreamerPlayer.act, []
    monkeypatch.setattr(DreamerPlayer, "act", lambda self, *seen: steps.append(seen) or act(self, *seen))
    play_to_compare(lively_agent("default"), 2, lambda done, total: counted.append((done, total, len(steps))))
    assert [one[:2] for one in counted] == [(1, 2), (2, 2)] and counted[0][2] < counted[1][2]


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_lives_through_whole_rounds_like_the_agent(kind: str, tmp_path: Path) -> None:
    agent = lively_agent(kind)
    run = write_numpy(Step(agent), tmp_path / "own.py", ABOUT)
    found = compare(run, agent, play_to_compare(agent, 2, lambda done, total: None))
    assert (found.rounds, found.differing) == (2, 0) and found.steps > 20 and found.largest < 1e-4
    obs = np.random.default_rng(0).normal(size=(5, 18)).astype(np.float32)
    state = {key: table.numpy() for key, table in agent.initial_state(5).items()}
    own = agent.initial_state(5)
    for first in (True, False, False):  # five rounds at once, and all of the state
        is_first = np.full(5, first)
        state = run(obs, is_first, state)
        own, _ = agent.act(own, torch.from_numpy(obs), torch.from_numpy(is_first), deterministic=True)
        for key, table in own.items():
            assert state[key].dtype == np.float32
            np.testing.assert_allclose(state[key], table.numpy(), atol=1e-4)


def test_a_step_that_differs_counts_once_and_not_what_follows_from_it(tmp_path: Path) -> None:
    agent, steps = lively_agent("default"), iter(range(10**6))
    run = write_numpy(Step(agent), tmp_path / "own.py", ABOUT)

    def stumbles(obs: Any, is_first: Any, state: Any) -> Any:
        after = run(obs, is_first, state)
        return after if next(steps) != 5 else {key: part + 1.0 for key, part in after.items()}

    rounds = play_to_compare(agent, 2, lambda done, total: None)
    assert compare(stumbles, agent, rounds).differing == 1

    def breaks(obs: Any, is_first: Any, state: Any) -> Any:
        return {key: part * np.nan for key, part in run(obs, is_first, state).items()}

    assert np.isnan(compare(breaks, agent, rounds).largest)


def test_a_rink_without_keep_mode(tmp_path: Path) -> None:
    agent = lively_agent("default", action_size=3)
    run = write_numpy(Step(agent), tmp_path / "own.py", ABOUT)
    assert compare(run, agent, play_to_compare(agent, 2, lambda done, total: None)).differing == 0


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(Path("own"), lively_agent("observed"), {})
    return "./own"


def test_the_file_plays_without_torch_and_as_a_player_here(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # its own files are written anew
        assert cli.run(["export", checkpoint, "--numpy", "own_np.py", "--rounds", "2", "--json", "e.json"]) == 0
    assert "own_np.py" in capsys.readouterr().out
    assert json.loads(Path("e.json").read_text())["own_np.py"]["differing"] == 0
    assert sorted(path.name for path in Path().glob("own_np*")) == ["own_np.npz", "own_np.py"]
    program = """
import sys
sys.modules.update(torch=None, competitor=None, dreamer=None)
import numpy as np, own_np
player = own_np.Player()
player.reset(3)
obs = np.ones((3, 18), np.float32)
obs[1] = np.nan
actions = player.act(obs, np.ones(3, bool))
assert actions.shape == (3, 4) and np.isfinite(actions).all() and not actions[1].any()
assert (actions[0] == actions[2]).all() and player.fresh.tolist() == [False, True, False]
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    Path("other.npz").write_bytes(Path("own_np.npz").read_bytes()[:-1])
    Path("other.py").write_text(Path("own_np.py").read_text())
    lone = subprocess.run([sys.executable, "-c", "import other"], check=False, capture_output=True, text=True)
    assert lone.returncode == 1 and "are damaged or another file's" in lone.stderr
    match = ["--against", "weak", "--rounds", "4", "--seed", "7", "--json"]
    assert cli.run(["evaluate", checkpoint, *match, "a.json"]) == 0
    assert cli.run(["evaluate", "own_np:Player", *match, "b.json"]) == 0
    one, other = (json.loads(Path(name).read_text())["results"][0] for name in ("a.json", "b.json"))
    assert (one["wins"], one["draws"], one["mean_steps"]) == (other["wins"], other["draws"], other["mean_steps"])


@pytest.mark.skipif(not HAS_ONNX, reason="the extra `onnx` is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_lives_through_whole_rounds_like_the_agent(kind: str, tmp_path: Path) -> None:
    from competitor.export.onnx_file import write_onnx

    agent = lively_agent(kind)
    run = write_onnx(Step(agent), tmp_path / "own.onnx")
    found = compare(run, agent, play_to_compare(agent, 2, lambda done, total: None))
    assert found.differing == 0 and found.largest < 1e-4


def test_mistakes_have_their_line(checkpoint: str, monkeypatch: pytest.MonkeyPatch, fails: Any) -> None:  # noqa: F811
    for arguments in (
        [],
        ["--numpy", "a-b.py"],
        ["--numpy", "class.py"],
        ["--numpy", "numpy.py"],
        ["--numpy", "dreamer.py"],
        ["--numpy", "a.PY"],
        ["--numpy", "a.py", "--json", "a.npz"],
        ["--numpy", "a.txt"],
        ["--onnx", "a.py"],
        ["--numpy", "a.py", "--rounds", "0"],
    ):
        assert cli.run(["export", checkpoint, *arguments]) == 2
    for taken in ("code.py", "round.npz"):  # the user's own: the one named, and what would lie beside it
        Path(taken).write_text("mine")
        assert cli.run(["export", checkpoint, "--numpy", f"{Path(taken).stem}.py"]) == 2
        assert Path(taken).read_text() == "mine"
    assert "no checkpoint none" in fails(4, "export", "./none", "--numpy", "a.py")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "hockey-dreamer[onnx]" in fails(18, "export", checkpoint, "--onnx", "a.onnx")
    monkeypatch.setitem(numpy_code.OPERATIONS, "aten.tanh.default", "np.nan * {0}")
    wrong = ["export", checkpoint, "--numpy", "a.py", "--rounds", "1", "--json", "a.json"]
    assert "a.py does not play like ./own" in fails(1, *wrong)
    assert json.loads(Path("a.json").read_text())["a.py"]["largest"] is None
    monkeypatch.delitem(numpy_code.OPERATIONS, "aten.tanh.default")
    assert "there is nothing for aten.tanh.default" in fails(1, "export", checkpoint, "--numpy", "b.py")
    assert not Path("b.py").exists()


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "full"), 7)])
def test_code_and_weights_are_written_both_or_neither(
    checkpoint: str,  # noqa: F811
    raised: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, rename = sorted(Path().iterdir()), Path.replace

    def refuse(temporary: Path, target: Path) -> None:
        if target.suffix == ".py":
            raise raised
        rename(temporary, target)

    with monkeypatch.context() as during:
        during.setattr(Path, "replace", refuse)
        assert cli.run(["export", checkpoint, "--numpy", "a.py", "--rounds", "1"]) == code
    assert sorted(Path().iterdir()) == before
    assert cli.run(["export", checkpoint, "--numpy", "a.py", "--rounds", "1"]) == 0

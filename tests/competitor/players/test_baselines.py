"""Policies of stable-baselines3: read without unpickling anything, with the real library where it is installed."""

import json
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from competitor.errors import PackageError, PlayerError
from competitor.players import Player, make_player
from competitor.rink import HockeyEnv_BasicOpponent

BOX = "<class 'gymnasium.spaces.box.Box'>"
SLOTS = 3
ALWAYS = np.ones(SLOTS, dtype=np.bool_)
OBS = np.random.default_rng(0).normal(size=(SLOTS, 18)).astype(np.float32)


class FakePolicy:
    """Has what a player needs of the library's policies: one layer, whose outputs are the actions."""

    def __init__(self, observation_space: Any, action_space: Any, lr_schedule: Any, **arguments: Any) -> None:
        self.observation_space, self.action_space, self.arguments = observation_space, action_space, arguments

    def load_state_dict(self, weights: dict[str, torch.Tensor]) -> None:
        self.weight = weights["weight"].numpy()

    def set_training_mode(self, mode: bool) -> None:
        self.trains = mode

    def predict(self, obs: np.ndarray, deterministic: bool) -> tuple[np.ndarray, None]:
        assert self.trains is False
        noise = 0.0 if deterministic else torch.rand(len(obs), 1).numpy()
        return obs @ self.weight.T + noise, None


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the library, of which a player needs very little."""
    for name in ("stable_baselines3", "stable_baselines3.common", "stable_baselines3.common.policies"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules[name], "ActorCriticPolicy", FakePolicy, raising=False)


def weights(actions: int = 4, size: int = 18) -> torch.Tensor:
    return torch.linspace(-1, 1, actions * size).reshape(actions, size)


def save(path: Path, *, actions: int = 4, size: int = 18, **settings: Any) -> str:
    """Write an archive as the library does; returns the player's name."""
    poison = {":serialized:": "this is no pickle: whoever decodes it fails"}
    data: dict[str, Any] = {
        "policy_class": {":type:": "", "__module__": "stable_baselines3.common.policies", **poison},
        "observation_space": {":type:": BOX, "_shape": [size], **poison},
        "action_space": {":type:": BOX, "_shape": [actions], **poison},
        "policy_kwargs": {},
        "use_sde": False,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data | settings))
        with archive.open("policy.pth", "w") as file:
            torch.save(OrderedDict(weight=weights(actions, size)), file)
    return f"sb3:{path}"


def normaliser(mean: float = 1.0, variance: float = 4.0, **changes: Any) -> bytes:
    """A pickle of an object with the attributes of VecNormalize."""
    moments = SimpleNamespace(mean=np.full(18, mean), var=np.full(18, variance), count=100.0)
    saved = {"norm_obs": True, "obs_rms": moments, "epsilon": 1e-8, "clip_obs": 0.5, "old_reward": np.zeros(1)}
    return pickle.dumps(SimpleNamespace(**saved | changes))


def play(player: Player, obs: np.ndarray = OBS) -> np.ndarray:
    player.reset(len(obs))
    return player.act(obs, np.ones(len(obs), dtype=np.bool_))


def test_an_archive_plays_its_policy(library: None, tmp_path: Path) -> None:
    obs = OBS.copy()
    obs[1] = np.nan
    actions = play(make_player(save(tmp_path / "mine.zip"), seed=0), obs)
    expected = np.clip(OBS @ weights().numpy().T, -1, 1)
    assert np.array_equal(actions[[0, 2]], expected[[0, 2]]) and not actions[1].any()


def test_samples_repeat_with_the_seed_and_leave_other_chance_alone(library: None, tmp_path: Path) -> None:
    spec = save(tmp_path / "mine.zip")
    torch.manual_seed(5)
    undisturbed = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (play(make_player(spec, seed=seed, deterministic=False)) for seed in (1, 1, 2))
    assert torch.rand(1) == undisturbed
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_rink_without_keep_mode(library: None, tmp_path: Path) -> None:
    player = make_player(save(tmp_path / "mine.zip", actions=3, size=16), seed=0)
    actions = play(player, OBS[:, :16])
    assert actions.shape == (SLOTS, 4) and not actions[:, 3].any()
    with pytest.raises(PlayerError, match="plays with 16 observations, the rink has 18"):
        player.act(OBS, ALWAYS)


def test_arguments_of_the_policy(library: None, tmp_path: Path) -> None:
    kwargs = {
        ":type:": "<class 'dict'>",
        ":serialized:": "no pickle",
        "net_arch": [64, 64],
        "activation_fn": "<class 'torch.nn.modules.activation.Tanh'>",
        "features_extractor_class": "<class 'stable_baselines3.common.torch_layers.FlattenExtractor'>",
        "optimizer_class": "<class 'my_module.MyOptimizer'>",
    }
    player: Any = make_player(save(tmp_path / "mine.zip", policy_kwargs=kwargs, use_sde=True), seed=0)
    assert player.policy.arguments == {"net_arch": [64, 64], "activation_fn": torch.nn.Tanh, "use_sde": True}


@pytest.mark.parametrize(
    "name",
    ["mine.pkl", "mine_vecnormalize.pkl", "vecnormalize.pkl", "vec_normalize.pkl", "run_vecnormalize_9_steps.pkl"],
)
def test_observations_are_normalised_as_in_training(library: None, tmp_path: Path, name: str) -> None:
    spec = save(tmp_path / ("run_9_steps.zip" if name.startswith("run") else "mine.zip"))
    (tmp_path / name).write_bytes(normaliser())
    seen = np.clip((OBS - 1.0) / 2.0, -0.5, 0.5)
    assert np.allclose(play(make_player(spec, seed=0)), np.clip(seen @ weights().numpy().T, -1, 1), atol=1e-6)


def test_rewards_alone_were_normalised(library: None, tmp_path: Path) -> None:
    spec = save(tmp_path / "mine.zip")
    bare = play(make_player(spec, seed=0))
    (tmp_path / "mine.pkl").write_bytes(normaliser(norm_obs=False))
    assert np.array_equal(play(make_player(spec, seed=0)), bare)


class Poison:
    """Whoever unpickles it makes a file."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch poisoned",)


def test_a_pickle_runs_nothing(library: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = save(tmp_path / "mine.zip")
    (tmp_path / "mine.pkl").write_bytes(normaliser(old_reward=Poison()))
    play(make_player(spec, seed=0))
    (tmp_path / "mine.pkl").write_bytes(pickle.dumps(Poison()))
    with pytest.raises(PlayerError, match=r"mine\.pkl does not say how observations were normalised"):
        make_player(spec, seed=0)
    assert not (tmp_path / "poisoned").exists()


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", normaliser(mean=float("nan")), normaliser(obs_rms=None), normaliser(variance=-4.0)]
)
def test_a_normaliser_that_is_none(library: None, tmp_path: Path, content: bytes) -> None:
    spec = save(tmp_path / "mine.zip")
    (tmp_path / "mine.pkl").write_bytes(content)
    with pytest.raises(PlayerError, match=r"mine\.pkl does not say") as caught:
        make_player(spec, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"policy_class": {"__module__": "os"}}, r"of a kind that is not known here \(os\)"),
        ({"policy_class": None}, "of a kind that is not known here"),
        ({"action_space": {":type:": "Discrete", "n": "8"}}, "action_space is not a row of numbers"),
        ({"observation_space": {"_shape": [10**9]}}, "observation_space is not a row of numbers"),
        ({"observation_space": {"_shape": [True]}}, "observation_space is not a row of numbers"),
        ({"actions": 8}, "gives 8 numbers as its action"),
        ({"policy_kwargs": {"features_extractor_class": "<class 'mine.Cnn'>"}}, "which only its own program can load"),
        ({"policy_kwargs": {"activation_fn": "<class 'mine.Swish'>"}}, "which is none of torch's"),
    ],
)
def test_policies_that_cannot_play_here(library: None, tmp_path: Path, settings: Any, words: str) -> None:
    spec = save(tmp_path / "mine.zip", **settings)
    with pytest.raises(PlayerError, match=words) as caught:
        make_player(spec, seed=0)
    assert "\n" not in str(caught.value) and spec in str(caught.value)


def archive_of(**parts: bytes) -> Any:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name.replace("policy", "policy.pth"), content)

    return write


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04 and no more"),
        archive_of(data=b"{}"),
        archive_of(data=b"no JSON", policy=b""),
        archive_of(data=b"[" * 100_000, policy=b""),
        archive_of(data=b"[]", policy=b""),
        archive_of(data=b"{}", policy=pickle.dumps(Poison())),
    ],
    ids=["empty", "cut", "no weights", "no JSON", "deep JSON", "a list", "a pickle as weights"],
)
def test_damaged_and_foreign_files(library: None, tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine.zip")
    with pytest.raises(PlayerError, match=r"mine\.zip is damaged, or no file that stable-baselines3 saved"):
        make_player("sb3:mine.zip", seed=0)
    assert not (tmp_path / "poisoned").exists()


def test_a_file_that_is_not_there(library: None) -> None:
    with pytest.raises(PlayerError, match=r"sb3:none\.zip cannot be read: none\.zip: No such file"):
        make_player("sb3:none.zip", seed=0)


@pytest.mark.parametrize("missing", ["stable_baselines3", "sb3_contrib"])
def test_without_the_extra(library: None, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    spec = save(tmp_path / "mine.zip", policy_class={"__module__": "sb3_contrib.tqc.policies"})
    with pytest.raises(PackageError, match=r"hockey-dreamer\[baselines\]") as caught:
        make_player(spec, seed=0)
    assert caught.value.exit_code == 18 and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["TD3", "DDPG", "SAC", "PPO", "A2C", "TQC"])
def test_the_real_library_s_archives_play_as_the_library_does(name: str, tmp_path: Path) -> None:
    """With the extra: pip install -e '.[baselines]'."""
    package = pytest.importorskip("stable_baselines3", reason="the extra 'baselines' is not installed")
    contrib = pytest.importorskip("sb3_contrib", reason="the extra 'baselines' is not installed")
    kind = getattr(contrib if name == "TQC" else package, name)
    activation = {} if name == "PPO" else {"activation_fn": torch.nn.Tanh}
    vec = package.common.vec_env
    env = vec.VecNormalize(vec.DummyVecEnv([Quick]), norm_reward=False)
    options = {"n_steps": 16} if name in ("PPO", "A2C") else {"learning_starts": 10**6}
    model = kind("MlpPolicy", env, seed=1, policy_kwargs={"net_arch": [16, 16], **activation}, **options)
    model.learn(64)
    model.save(tmp_path / "mine.zip")
    env.save(str(tmp_path / "mine.pkl"))
    expected = model.predict(env.normalize_obs(OBS), deterministic=True)[0]
    assert np.array_equal(play(make_player(f"sb3:{tmp_path}/mine.zip", seed=0)), expected)


class Quick(gymnasium.Wrapper):  # type: ignore[type-arg]
    """The rink for one player, for the real library."""

    def __init__(self) -> None:
        super().__init__(HockeyEnv_BasicOpponent(fresh_on_seed=True))

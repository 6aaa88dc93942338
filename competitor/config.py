"""Every setting of a run, read once from config.toml into frozen models.

Values come in layers, later ones win: the shipped config.toml, a file given with --config (it may name only
what it changes), the preset's tables `[presets.NAME.SECTION]`, and `--set section.key=value`. config.toml is
the one place where a default stands: the models here hold names, types and bounds, and refuse all else.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from competitor.config_errors import Layer, check_layer, explain, nearest
from competitor.errors import ConfigError
from dreamer.config import (
    BehaviorConfig,
    DreamerConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    ReplayConfig,
)

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0.0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Port = Annotated[int, Field(ge=0, le=65_535)]


class Section(BaseModel):
    """A table of config.toml: unknown keys, wrong types, NaN and infinity are errors; values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RunConfig(Section):
    """[run]: what holds for the whole process."""

    seed: Seed
    threads: int = Field(ge=0)
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "float32", "bfloat16"]
    kernels: Literal["auto", "native", "torch", "plain"]

    @property
    def asks_for_cpu_kernels(self) -> bool:
        """Whether the kernels are named that work in float32 on the CPU only."""
        return self.kernels in ("native", "torch")

    @model_validator(mode="after")
    def _kernels_fit(self) -> RunConfig:
        if self.asks_for_cpu_kernels and (self.device == "cuda" or self.precision == "bfloat16"):
            raise ValueError(f'kernels "{self.kernels}" are for float32 on the CPU; choose "auto" or "plain"')
        return self


class RinkConfig(Section):
    """[rink]: the game itself."""

    engine: Literal["builtin", "hockey"]
    keep_mode: bool


class RewardConfig(Section):
    """[reward]: weights of what the environment reports, summed up to the reward that is learned from."""

    goal: float
    closeness: float
    touch: float
    direction: float


class TrainingConfig(Section):
    """[training]: how much is played, learned, evaluated and saved."""

    rinks: Count
    environment_steps: Count
    minutes: Weight
    train_ratio: Positive
    overlap: bool
    warmup_rounds: Count
    lesson_rounds: Annotated[int, Field(ge=0)]
    prelude_updates: Annotated[int, Field(ge=0)]
    evaluate_every_steps: Count
    evaluate_rounds: Count
    checkpoint_every_minutes: Positive
    shooting_share: Share
    defense_share: Share

    @model_validator(mode="after")
    def _shares(self) -> TrainingConfig:
        if self.shooting_share + self.defense_share > 1.0:
            raise ValueError("shooting_share and defense_share together must be at most 1")
        return self


class LeagueConfig(Section):
    """[league]: who is played against while training."""

    weak: Weight
    strong: Weight
    self: Weight
    past: Weight
    snapshot_every_steps: Count
    pool_size: Count
    active_snapshots: Count
    redraw_rounds: Count
    pfsp: Literal["hard", "variance"]
    pfsp_power: Weight

    @model_validator(mode="after")
    def _someone_to_play(league) -> LeagueConfig:  # `self` is one of the weights
        if league.weak + league.strong + league.self <= 0.0:
            raise ValueError("at least one of weak, strong and self must be above 0")
        return league


class EvaluationConfig(Section):
    """[evaluation]: defaults of the command `evaluate`."""

    rounds: Count
    rinks: Count
    deterministic: bool
    seed: Seed


class CompeteConfig(Section):
    """[compete]: how the daemon plays on a tournament server."""

    connections: Count
    deterministic: bool
    deadline_s: float = Field(gt=0.0, lt=10.0)  # comprl's server waits 10 s
    stuck_after_s: Positive
    retry_first_s: Positive
    retry_most_s: Positive
    attempts: int = Field(ge=0)

    @model_validator(mode="after")
    def _growing(self) -> CompeteConfig:
        if self.retry_first_s > self.retry_most_s:
            raise ValueError("retry_first_s must be at most retry_most_s")
        return self


class ArenaConfig(Section):
    """[arena]: the local tournament server."""

    host: Annotated[str, Field(min_length=1)]
    comprl_port: Port
    http_port: Port
    bots: tuple[str, ...]
    rounds: Count
    deadline_s: Positive
    tick_s: Positive


class Config(Section):
    """All sections of config.toml."""

    run: RunConfig
    rink: RinkConfig
    reward: RewardConfig
    training: TrainingConfig
    league: LeagueConfig
    evaluation: EvaluationConfig
    compete: CompeteConfig
    arena: ArenaConfig
    model: ModelConfig
    loss: LossConfig
    behavior: BehaviorConfig
    optimizer: OptimizerConfig
    replay: ReplayConfig

    @property
    def dreamer(self) -> DreamerConfig:
        """The part that the agent is built from."""
        return DreamerConfig(
            model=self.model,
            loss=self.loss,
            behavior=self.behavior,
            optimizer=self.optimizer,
            replay=self.replay,
        )

    def to_toml(self) -> str:
        """The settings as TOML text that `load_config` reads back equal."""
        return tomli_w.dumps(self.model_dump(mode="json", by_alias=True))


def shipped(name: str) -> Path:
    """Path of a file that comes with the project: `config.toml` or `checkpoints/champion.safetensors`.

    In an installed wheel the files lie in the package's `data` folder, in a checkout beside the packages.
    The path is returned whether or not the file exists.
    """
    package = Path(__file__).resolve().parent
    data = package / "data"
    return (data if data.is_dir() else package.parent) / name


def preset_names(path: Path | None = None) -> list[str]:
    """Names accepted as a preset: `default`, those of the shipped config.toml and those of `path`."""
    names = {"default"}
    for file in _files(path):
        names.update(_presets(_read(file), file))
    return sorted(names)


def load_config(path: Path | None = None, preset: str = "default", overrides: Sequence[str] = ()) -> Config:
    """The settings of a run.

    path: a config file laid over the shipped one; None: the shipped one alone.
    preset: `default` or the name of a table below `[presets]` in either file.
    overrides: texts `section.key=value`, the value as in TOML; a bare word is taken as a string.

    Raises ConfigError with one line that names the key, the value, where it stands and what was expected.
    """
    layers = list(_layers(path, preset, overrides))
    merged: dict[str, Any] = {}
    for layer in layers:
        check_layer(layer)
        _merge(merged, layer.values)
    try:
        # Through JSON, whose strict mode takes a TOML array for a tuple but no text for a number.
        return Config.model_validate_json(json.dumps(merged, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(explain(error, Config, layers)) from None


def _files(path: Path | None) -> list[Path]:
    base = shipped("config.toml")
    return [base] if path is None or path.resolve() == base.resolve() else [base, path]


def _layers(path: Path | None, preset: str, overrides: Sequence[str]) -> Iterator[Layer]:
    presets: list[Layer] = []
    for file in _files(path):
        values = _read(file)
        found = _presets(values, file)
        values.pop("presets", None)
        yield Layer(str(file.name), values)
        if preset in found:
            presets.append(Layer(f"preset {preset} in {file.name}", found[preset]))
    if not presets and preset != "default":
        names = preset_names(path)
        hint = nearest(preset, names) or f"; there are {', '.join(names)}"
        raise ConfigError(f"unknown preset '{preset}'{hint}")
    yield from presets
    for text in overrides:
        yield Layer(f"--set {text}", parse_override(text))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def _presets(values: dict[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    presets = values.get("presets", {})
    if not isinstance(presets, dict) or not all(isinstance(table, dict) for table in presets.values()):
        raise ConfigError(f"{path.name}: presets must be tables of the form [presets.NAME.SECTION]")
    if "default" in presets:
        raise ConfigError(f"{path.name}: 'default' is the file itself and cannot be the name of a preset")
    return presets


def as_overrides(values: Mapping[str, object]) -> tuple[str, ...]:
    """Values by `section.key` as texts for `load_config`; those that are None are left out."""
    return tuple(f"{key}={value}" for key, value in values.items() if value is not None)


def parse_override(text: str) -> dict[str, Any]:
    """`section.key=value` as nested tables. Raises ConfigError if the text has another form."""
    key, equals, value = text.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or len(names) != 2 or not all(names):
        raise ConfigError(f"--set {text}: expected section.key=value, for example training.rinks=16")
    section, name = names
    return {section: {name: _parse_value(value.strip())}}


def _parse_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _merge(target: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = dict(value) if isinstance(value, dict) else value

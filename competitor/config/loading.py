"""Settings in layers, read once from config.toml into the models of `competitor.config.models`.

Later layers win: the shipped config.toml, a file given with --config (it may name only what it changes), the
preset's tables `[presets.NAME.SECTION]`, and `--set section.key=value`.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from competitor.config.errors import Layer, check_layer, explain, explain_former, nearest
from competitor.config.former import BEFORE, drop_constants, modernise
from competitor.config.models import Config
from competitor.errors import ConfigError
from dreamer.former import FormerSettingError

LONGEST = 80  # characters of what was given with --set that a message repeats
OVERRIDE = re.compile(r"""([^.=]+)\.([^.=]+)(?:\.(\s*"[^"]*"\s*|[^=]*))?=(.*)""", re.DOTALL)
"""A name in quotes may hold what separates otherwise."""
TABLES = ("league.opponents",)
"""Settings that are tables themselves, with names of the user's."""


def shipped(name: str) -> Path:
    """Path of a file that comes with the project: `config.toml` or `checkpoints/champion.safetensors`.

    In an installed wheel the files lie in the package's `data` folder, in a checkout beside the packages.
    The path is returned whether or not the file exists.
    """
    package = Path(__file__).resolve().parent.parent
    data = package / "data"
    return (data if data.is_dir() else package.parent) / name


def preset_names(path: Path | None = None) -> list[str]:
    """Names accepted as a preset: `default`, those of the shipped config.toml and those of `path`."""
    names = {"default"}
    for file in _files(path):
        names.update(_presets(read_toml(file), file))
    return sorted(names)


def load_config(
    path: Path | None = None, preset: str = "default", overrides: Sequence[str] = (), *, training: bool = False
) -> Config:
    """The settings of a run.

    path: a config file laid over the shipped one; None: the shipped one alone.
    preset: `default` or the name of a table below `[presets]` in either file.
    overrides: texts `section.key=value`, the value as in TOML; a bare word is taken as a string.
    training: for a training, which former settings of other commands do not concern.

    Raises ConfigError with one line that names the key, the value, where it stands and what was expected.
    """
    layers = list(_layers(path, preset, overrides))
    merged: dict[str, Any] = {}
    for layer in layers:
        check_layer(layer)
        modernise(layer.values)
        _merge(merged, layer.values)
    try:
        drop_constants(merged, training=training)
        # Through JSON, whose strict mode takes a TOML array for a tuple but no text for a number.
        return Config.model_validate_json(json.dumps(merged, default=str))
    except FormerSettingError as error:
        raise ConfigError(explain_former(error, layers)) from None
    except ValidationError as error:
        raise ConfigError(explain(error, Config, layers)) from None


def load_run_config(file: Path, overrides: Sequence[str] = ()) -> Config:
    """The settings of a run by its own config.toml, changed by `overrides`; what that is too old to know is as it was.

    Raises ConfigError like `load_config`.
    """
    known = known_settings(file)
    older = as_overrides({name: str(value).lower() for name, value in BEFORE.items() if name not in known})
    return load_config(file, overrides=[*older, *overrides], training=True)


def _files(path: Path | None) -> list[Path]:
    base = shipped("config.toml")
    return [base] if path is None or os.path.realpath(path) == os.path.realpath(base) else [base, path]


def _layers(path: Path | None, preset: str, overrides: Sequence[str]) -> Iterator[Layer]:
    presets: list[Layer] = []
    for file in _files(path):
        values = read_toml(file)
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
        yield Layer(_option(text), parse_override(text))


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file. Raises ConfigError, which names it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows begin with a byte order mark
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ConfigError(f"{path} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def known_settings(path: Path) -> set[str]:
    """Settings, as `section.key`, that the file at `path` has. Raises ConfigError when it cannot be read."""
    values = read_toml(path)
    modernise(values)
    return {f"{section}.{key}" for section, table in values.items() if isinstance(table, dict) for key in table}


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
    """`section.key=value`, or `section.key.name=value` in a table of settings, as nested tables.

    Raises ConfigError if the text has another form.
    """
    found = OVERRIDE.fullmatch(text)
    names = [name.strip().strip('"') for name in found.groups()[:3] if name is not None] if found else []
    is_table = ".".join(names[:2]) in TABLES
    if found is None or not all(names) or (len(names) == 3 and not is_table):
        raise ConfigError(f"{_option(text)}: expected section.key=value, for example training.rinks=16")
    values: Any = _parse_value(found[4].strip())
    for name in reversed(names):
        values = {name: values}
    return dict(values)


def _option(text: str) -> str:
    """How a message calls what was given with --set."""
    return f"--set {text if len(text) <= LONGEST else text[: LONGEST - 1] + '…'}"


def _parse_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _merge(target: dict[str, Any], values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = dict(value) if isinstance(value, dict) else value

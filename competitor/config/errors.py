"""One line for a wrong setting: where it stands, key and value, what was expected, the nearest valid key."""

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

from competitor.config.former import WAYS
from competitor.errors import ConfigError
from dreamer.former import FormerSettingError

KINDS = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "string": "a text",
    "object": "a table of opponents and their shares",
}
BOUNDS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "and at most",
    "exclusiveMaximum": "and below",
}
LONGEST_VALUE = 60
MOST_NESTED = 8  # tables or lists within each other; settings need two


@dataclass(frozen=True)
class Layer:
    """One source of settings: its name for the user and its tables, `values[section][key]`."""

    name: str
    values: dict[str, Any]


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known name most like `name`, or an empty string."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{found[0]}'?" if found else ""


def check_layer(layer: Layer) -> None:
    """Raises ConfigError for what the models would not see: keys outside sections, infinite numbers, broken text."""
    for section, table in layer.values.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{layer.name}: {section} = {_show(table)}, expected a section, such as [training]")
        for key, value in table.items():
            _check_value(f"{layer.name}: {section}.{key}", value)


def _check_value(where: str, value: object, depth: int = 0) -> None:
    if depth > MOST_NESTED:
        raise ConfigError(f"{where}: nested too deeply")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} = {_show(value)}, expected a finite number")
    if isinstance(value, str) and value.encode("utf-8", "replace").decode() != value:
        raise ConfigError(f"{where}: expected text in UTF-8")
    if isinstance(value, dict):
        for name, part in value.items():
            _check_value(where, name)
            _check_value(f"{where}.{name}", part, depth + 1)
    for part in value if isinstance(value, list) else ():
        _check_value(where, part, depth + 1)


def explain(error: ValidationError, model: type[BaseModel], layers: Sequence[Layer]) -> str:
    """The first problem of `error` in one line; `layers` in the order in which they were laid."""
    problems = error.errors(include_url=False)
    first = problems[0]
    path = [str(part) for part in first["loc"]]
    # Within a setting that is a table the user's names are part of the path.
    path = path[: 3 if len(path) > 2 and "additionalProperties" in _schema(model, path) else 2]
    source, value = _find(path, layers)
    text = f"{source}: {_problem(first, path, value, model)}"
    return text if len(problems) == 1 else f"{text} (and {len(problems) - 1} more)"


def explain_former(error: FormerSettingError, layers: Sequence[Layer]) -> str:
    """A setting that is gone and says something else than what holds today, in one line."""
    name = f"{error.section}.{error.key}"
    source, _ = _find((error.section, error.key), layers)
    return f"{source}: {name} = {_show(error.value)}: {error}: {WAYS.get(name, 'leave it out')}"


def _problem(problem: Any, path: list[str], value: object, model: type[BaseModel]) -> str:
    key = ".".join(path)
    kind = problem["type"]
    if kind == "extra_forbidden":
        what = f"section [{key}]" if isinstance(value, dict) else f"key {key} = {_show(value)}"
        known = list(model.model_fields) if len(path) == 1 else keys(model, path[0])
        close = nearest(key, _known(model, len(path)))
        return f"unknown {what}{close or ', expected one of ' + ', '.join(known)}"
    if kind == "missing":
        return f"{key} is missing, expected {expected(model, path)}"
    if kind == "value_error":
        return f"section [{key}]: {problem['ctx']['error']}"
    return f"{key} = {_show(value)}, expected {expected(model, path)}"


def expected(model: type[BaseModel], path: Sequence[str]) -> str:
    """What the setting at `path` (section, key) has to be, such as `an integer of at least 1`."""
    if len(path) == 1:
        return f"a section [{path[0]}] with its keys"
    schema = _schema(model, path)
    if len(path) == 3:
        schema = schema["additionalProperties"]
    if "enum" in schema or "const" in schema:
        return "one of " + ", ".join(_show(choice) for choice in schema.get("enum", [schema.get("const")]))
    bounds = [f"{words} {schema[name]}" for name, words in BOUNDS.items() if name in schema]
    return " ".join([KINDS.get(schema.get("type", ""), "another kind of value"), *bounds])


def _schema(model: type[BaseModel], path: Sequence[str]) -> dict[str, Any]:
    section: Any = model.model_fields[path[0]].annotation
    found: dict[str, Any] = section.model_json_schema()["properties"].get(path[1], {})
    return found


def _known(model: type[BaseModel], depth: int) -> list[str]:
    if depth == 1:
        return list(model.model_fields)
    return [f"{name}.{key}" for name in model.model_fields for key in keys(model, name)]


def keys(model: type[BaseModel], section: str) -> list[str]:
    """The keys of a section as config.toml writes them."""
    annotation: Any = model.model_fields[section].annotation
    return [field.alias or name for name, field in annotation.model_fields.items()]


def _find(path: Sequence[str], layers: Sequence[Layer]) -> tuple[str, object]:
    """The last layer that sets `path`, by its name, and what it sets there."""
    for layer in reversed(layers):
        value: Any = layer.values
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return layer.name, value
    return layers[0].name, None


def _show(value: object) -> str:
    """A value as TOML writes it, cut to a readable length."""
    text = "a table"
    if not isinstance(value, dict):
        text = " ".join(tomli_w.dumps({"value": value}).removeprefix("value = ").split())
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"

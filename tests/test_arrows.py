"""Who may import whom: the arrows of the layout point downwards only, those for typing alone included."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cli

ROOT = Path(cli.__file__).parent
FLOORS = (
    {"population"},
    {"arena", "daemon", "export", "inspect", "sparring", "train"},
    {"engine", "evaluate", "viewer", "wire"},
    {"play"},
    {"players"},
    {"rink"},
)
"""Packages of `competitor` from the top down; modules beside them (config, errors, screen ...) are for all."""
NEVER = {
    "daemon": {"arena", "train"},
    "arena": {"daemon", "train"},
    "train": {"arena", "daemon", "engine", "wire"},
}
BESIDE = {
    ("train", "inspect"),
    ("evaluate", "engine"),
    ("engine", "wire"),
    ("viewer", "wire"),
}
"""Pairs on one floor that may know each other: the first imports the second."""


def imports(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def room(name: str) -> str | None:
    """The package of `competitor` that a module lies in; None: it lies in none of those on the floors."""
    parts = name.split(".")
    rooms = set().union(*FLOORS)
    return parts[1] if len(parts) > 1 and parts[0] == "competitor" and parts[1] in rooms else None


def floor(package: str) -> int:
    return next(number for number, packages in enumerate(FLOORS) if package in packages)


@pytest.mark.parametrize("package", sorted(set().union(*FLOORS)))
def test_no_package_imports_one_above_it_or_beside_it(package: str) -> None:
    wrong = {}
    for path in files(f"competitor/{package}"):
        for name in imports(path):
            other = room(name)
            if other in (None, package) or (package, other) in BESIDE:
                continue
            if floor(other) <= floor(package) or other in NEVER.get(package, ()):
                wrong[f"{path.relative_to(ROOT)} imports {name}"] = True
    assert list(wrong) == []


def test_the_mind_knows_no_player() -> None:
    found = [(path.name, name) for path in files("dreamer") for name in imports(path) if name.startswith("competitor")]
    assert found == []


def test_nothing_imports_the_command_line() -> None:
    paths = [*files("dreamer"), *files("competitor")]
    assert [path.name for path in paths if "cli" in set(imports(path))] == []


def test_modules_for_all_import_no_package() -> None:
    found = [
        f"{path.name} imports {name}"
        for path in sorted((ROOT / "competitor").glob("*.py"))
        for name in imports(path)
        if room(name)
    ]
    assert found == []


DOOR = ROOT / "dreamer" / "fast.py"


def test_what_is_fast_is_known_to_one_module_only_which_may_find_it_missing() -> None:
    speed = ROOT / "dreamer" / "speed"
    outside = [path for path in [ROOT / "cli.py", *files("competitor"), *files("dreamer")] if speed not in path.parents]
    found = [path.name for path in outside for name in imports(path) if name.startswith("dreamer.speed")]
    assert found == [] and '"dreamer.speed"' in DOOR.read_text(encoding="utf-8")


def test_what_is_fast_knows_neither_acting_nor_updates() -> None:
    above = {"dreamer.agent", "dreamer.update", "dreamer.pipeline"}
    assert [path.name for path in files("dreamer/speed") if above & set(imports(path))] == []

"""A class of the user's as a player: "module:Class", found, built and guarded.

What the program needs is never shadowed by files of the user's: the current directory is searched last, and only
the module that the user named is taken from it first, whatever it is called.
"""

import contextlib
import importlib
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from competitor.errors import PlayerError, printable
from competitor.players.player import ACTION_SIZE, Array, Flags, checked_actions, clean_actions
from competitor.screen import open_output
from competitor.system import STOP_SIGNALS

OUR_NAMES = ("cli", "competitor", "dreamer")


class ForeignPlayer:
    """An object of the user's class: its mistakes become one sentence, its idle slots see zeros instead of NaN."""

    def __init__(self, player: Any, name: str, around: "Surroundings | None" = None) -> None:
        """around: in which the class was made, if it was."""
        self.name = name
        self._player, self._around = player, around or Surroundings()
        self._slots = 0

    def reset(self, slots: int) -> None:
        self._slots = slots
        with self._around.entered(), explained(f"player {self.name} failed in reset()"):
            self._player.reset(slots)

    def act(self, obs: Array, is_first: Flags) -> Array:
        """Return the class's actions (slots, 4), made finite and clipped to [-1, 1].

        Raises PlayerError when the class raises, ends the program or returns no numbers of that shape.
        """
        return clean_actions(self.raw_actions(obs, is_first), self._slots)

    def raw_actions(self, obs: Array, is_first: Flags) -> Array:
        """Return what the class answers, (slots, 4), as it is: perhaps not finite; raises what `act` raises."""
        with self._around.entered(), explained(f"player {self.name} failed in act()"):
            return checked_actions(self._player.act(np.nan_to_num(obs), is_first.copy()), self._slots, ACTION_SIZE)


class Surroundings:
    """What a class may change for the whole process: what it has set holds while its code runs, ours otherwise.

    Where paths start, the type and device of torch's new tensors, whether torch keeps gradients, and what NumPy does on
    overflows: results must not land elsewhere because a class has changed the folder. The standard streams and what
    Ctrl-C does are put back only.
    """

    def __init__(self) -> None:
        self._theirs: tuple[Any, ...] | None = None

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """For code of the class."""
        ours, streams = self._now(), (sys.stdout, sys.stderr)
        handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        self._set(self._theirs or ours)
        try:
            yield
        finally:
            self._theirs = self._now()
            self._set(ours)
            sys.stdout, sys.stderr = (None if getattr(one, "closed", True) else one for one in streams)
            if None in (sys.stdout, sys.stderr):
                open_output()
            for number, handler in handlers.items():
                if signal.getsignal(number) != handler and threading.current_thread() is threading.main_thread():
                    signal.signal(number, handler)

    @staticmethod
    def _now() -> tuple[Any, ...]:
        folder = None
        with contextlib.suppress(OSError):  # it may be gone
            folder = os.getcwd()
        kept = torch.is_grad_enabled()
        return folder, torch.get_default_dtype(), torch.get_default_device(), kept, np.geterr()

    @classmethod
    def _set(cls, wanted: tuple[Any, ...]) -> None:
        now, (folder, dtype, device, kept, floats) = cls._now(), wanted
        if folder not in (None, now[0]):
            with contextlib.suppress(OSError):
                os.chdir(folder)
        if dtype != now[1]:
            torch.set_default_dtype(dtype)
        if device != now[2]:
            torch.set_default_device(None if device.type == "cpu" else device)
        torch.set_grad_enabled(kept)
        if floats != now[4]:
            np.seterr(**floats)


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever a user's code raises into a PlayerError that begins with `what`.

    `sys.exit` and the like as well: a player must not end the program. Only Ctrl-C stays what it is.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PlayerError(f"{what}: {_summary(error)}") from error


def load_class(spec: str) -> ForeignPlayer:
    """Import and build "module:Class"; raises PlayerError when that fails or the class is no player."""
    module_name, _, class_name = spec.partition(":")
    around = Surroundings()
    with around.entered(), explained(f"player {spec} cannot be loaded"):
        player = getattr(_module(module_name), class_name)()
        missing = [method for method in ("reset", "act") if not callable(getattr(player, method, None))]
        if missing:
            raise PlayerError(f"it has no {missing[0]}(): docs/evaluation.md says what it needs")
    return ForeignPlayer(player, spec, around)


def source_of(spec: str) -> Path | None:
    """Return the file in which the class of "module:Class" stands, without running it; None: nobody knows."""
    name = spec.partition(":")[0]
    found = _here(name)
    if found is None:
        with contextlib.suppress(ImportError, ValueError):
            found = importlib.util.find_spec(name)
    return Path(found.origin) if found is not None and found.origin else None


def _module(name: str) -> ModuleType:
    """Import a module of the current directory, or an installed one."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # for good: the class may import when it plays
    found = _here(name)
    if found is None or _is_found_as(name, found):
        return importlib.import_module(name)
    return _import_aside(name, found)


def _here(name: str) -> ModuleSpec | None:
    found = PathFinder.find_spec(name, [str(Path.cwd())]) if name.isidentifier() else None
    return found if found is not None and found.has_location else None


def _is_found_as(name: str, found: ModuleSpec) -> bool:
    """Return whether an import of `name` gives what was found, not another module that is called the same."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None) == found.origin
    usual = importlib.util.find_spec(name)
    return usual is not None and usual.origin == found.origin


def _import_aside(name: str, found: ModuleSpec) -> ModuleType:
    """Import a file whose name is taken by another module, under a name of its own."""
    assert found.origin is not None
    aside = f"player_of_{name}"
    spec = importlib.util.spec_from_file_location(aside, found.origin)
    if spec is None or spec.loader is None:
        raise ImportError(f"{found.origin} is no module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[aside] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[aside]
        raise
    return module


def _summary(error: BaseException) -> str:
    try:
        said = printable(f"{type(error).__name__}: {error}")
    except Exception:  # the user's own error class may fail as well
        return type(error).__name__
    if isinstance(error, PlayerError):
        return str(error)
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r}), which ends no program here"
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] in OUR_NAMES:
        return f"{said} (cli, competitor and dreamer are modules of this program: call your own ones otherwise)"
    return said

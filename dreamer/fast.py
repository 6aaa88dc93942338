"""The one door to dreamer/speed: which way is taken, and None where the folder is missing; then everything runs plain.

use("bfloat16")  the compiled chains of dreamer/speed with products of numbers rounded to bfloat16, on some processors
use("native")    the same in float32, the default where a C compiler exists
use("plain")     the modules as they are written, differentiated by autograd
"""

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

Kind = Literal["bfloat16", "native", "plain"]
_kind: Kind | None = None
_thread = threading.local()


@cache
def speed() -> Any:
    """The package dreamer.speed, loaded when it is first asked for; None where it is missing."""
    try:
        return importlib.import_module("dreamer.speed")
    except ModuleNotFoundError as error:
        if error.name != "dreamer.speed":
            raise
        return None


def kind() -> Kind:
    """Which way is taken in this thread; chosen at the first call unless ``use`` has said it."""
    if getattr(_thread, "plain", False):
        return "plain"
    return use("auto") if _kind is None else _kind


def use(wanted: Kind | Literal["auto"]) -> Kind:
    """Choose the way from now on and return what was chosen.

    "auto" is "native", which falls back to "plain" without a compiler; "bfloat16" falls back to "native" on processors
    that are no faster with it.
    """
    global _kind
    found = None if wanted == "plain" else speed()
    if found is None or not found.is_compiled():
        _kind = "plain"
    else:
        _kind = "bfloat16" if wanted == "bfloat16" and found.has_half() else "native"
    return _kind


@contextmanager
def plainly() -> Iterator[None]:
    """The modules as written inside a with block, in this thread alone."""
    before, _thread.plain = getattr(_thread, "plain", False), True
    try:
        yield
    finally:
        _thread.plain = before


def native(x: Tensor) -> Any:
    """``speed()`` if its compiled ways are in use and can work on tensors like x, else None."""
    fits = x.dtype == torch.float32 and x.device.type == "cpu" and kind() != "plain"
    return speed() if fits else None

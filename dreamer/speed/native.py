"""Builds chains.c with the C compiler of this machine, once, and loads it; without a compiler torch does the work.

The library is cached under its source, flags and machine, so that only the first process ever waits (one second). Its
matrix products are those of torch, whose library has them under Fortran's name; where it has not, torch does the work.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("chains.c")
INCLUDED = SOURCE.with_name("kernels.c")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-shared", "-fPIC")
BUILD_TIMEOUT_S = 60.0

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h
_POINTER, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_TYPES = {"p": _POINTER, "i": _INT, "f": _FLOAT}
SIGNATURES = {
    "perceptron_forward": "piiiiifpipppp" + "iip",
    "perceptron_backward": "piiiiipipppppippp",
    "dream_step": "piiiiiiffpipppppppip",
    "filter_forward": "piiiiiiffppiippp",
    "filter_backward": "piiiiiifpppiipppp",
    "kl_forward": "iiifppppp",
    "kl_backward": "iiifpppppp",
    "laprop_step": "ippppffffff",
}


class Library(NamedTuple):
    """The compiled chains, and the address of the matrix product that they are to use."""

    calls: ctypes.CDLL
    gemm: int


def pointers(tensors: Iterable[Tensor]) -> Any:
    """Where the numbers of each tensor begin, as an array for C."""
    addresses = [tensor.data_ptr() for tensor in tensors]
    return (_POINTER * len(addresses))(*addresses)


def load_library() -> Library | None:
    """The compiled chains, built if they are not cached; None where that is impossible."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or not SOURCE.exists():
        return None
    try:
        path = _cache() / f"chains-{_key(compiler)}.so"
        if not path.exists():
            _build(compiler, path)
        library = Library(_declared(ctypes.CDLL(str(path))), _gemm())
    except (OSError, subprocess.SubprocessError, AttributeError, RuntimeError):  # the last: no home directory
        return None
    keep_memory()
    return library


def keep_memory() -> None:
    """Let glibc keep large freed blocks instead of handing them back: fresh pages cost a fifth of a large update."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    if mallopt(_MMAP_THRESHOLD, 2**30):  # refused by an older glibc, whose own adaptation the other would end
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def _gemm() -> int:
    """The address of sgemm in torch's library; raises OSError or AttributeError where there is none."""
    directory = Path(torch.__file__).parent / "lib"
    products = ctypes.CDLL(str(next(directory.glob("*torch_cpu.*"), directory)))
    return ctypes.cast(products.sgemm_, _POINTER).value or 0


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "hockey-dreamer"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _key(compiler: str) -> str:
    """-march=native makes a library that only its own kind of processor can run."""
    about = [compiler, *FLAGS, platform.machine(), _processor()]
    return hashlib.sha256(SOURCE.read_bytes() + INCLUDED.read_bytes() + "\0".join(about).encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.node()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _build(compiler: str, path: Path) -> None:
    """Compile to a name of its own, then rename: processes that start together do not disturb each other."""
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        made = Path(directory) / "chains.so"
        command = [compiler, *FLAGS, "-o", str(made), str(SOURCE), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=BUILD_TIMEOUT_S)
        made.replace(path)


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    for name, signature in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = [_TYPES[letter] for letter in signature], None
    return library

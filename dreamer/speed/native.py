"""Builds the C code of this folder with the compiler of this machine, once, and loads it.

Without a compiler the plain modules calculate; with one that fails too, and that is said. A library is cached under its
source, flags and machine, so that only the first process ever waits (one second), and verified before it is loaded: one
that was damaged is built anew.
"""

import ctypes
import hashlib
import logging
import math
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dreamer.files import atomic_write_text, sync_directory

FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-shared", "-fPIC")
TARGET_VARIABLE = "HOCKEY_DREAMER_TARGET"
"""Compiler flags that name the processor, "-march=native" if unset; "-mavx2 -mfma" holds the C code to AVX2."""
BUILD_TIMEOUT_S = 60.0
PROBES = (-3.0, -0.5, 0.25, 2.0)  # of the functions of one number: a library that miscalculates is not used

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h
_POINTER, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_TYPES = {"p": _POINTER, "i": _INT, "f": _FLOAT}
_hanging: set[str] = set()
"""Compilers that have not ended in time: this process does not wait for them again."""
log = logging.getLogger(__name__)


class Code(NamedTuple):
    """What is compiled into one library: source, files that it includes, flags, and the arguments of its functions.

    A letter stands for each argument: p for a pointer, i for an int64, f for a float.
    """

    source: str
    included: tuple[str, ...]
    flags: tuple[str, ...]
    signatures: dict[str, str]


def pointers(tensors: Iterable[Tensor]) -> Any:
    """Where the numbers of each tensor begin, as an array for C."""
    addresses = [tensor.data_ptr() for tensor in tensors]
    return (_POINTER * len(addresses))(*addresses)


def load(code: Code) -> ctypes.CDLL | None:
    """The library of ``code``, built if it is not cached or was damaged; None where that is impossible."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or compiler in _hanging:
        return None
    try:
        library = _declared(ctypes.CDLL(str(_built(compiler, code))), code)
    except (OSError, subprocess.SubprocessError, AttributeError, RuntimeError) as error:  # the last: no home directory
        if isinstance(error, subprocess.TimeoutExpired):
            _hanging.add(compiler)
        log.warning("%s cannot be compiled, without it all is slower: %s", code.source, _reason(error))
        return None
    if not all(math.isclose(library.probe(x), x / (1.0 + math.exp(-x)), rel_tol=1e-5) for x in PROBES):
        log.warning("the compiled %s calculates wrongly on this machine and is not used", code.source)
        return None
    keep_memory()
    return library


@cache
def keep_memory() -> None:
    """Let glibc keep large freed blocks instead of handing them back: fresh pages cost a fifth of a large update."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    if mallopt(_MMAP_THRESHOLD, 2**30):  # refused by an older glibc, whose own adaptation the other would end
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def gemm() -> int:
    """The address of sgemm in torch's library; raises OSError or AttributeError where there is none."""
    directory = Path(torch.__file__).parent / "lib"
    products = ctypes.CDLL(str(next(directory.glob("*torch_cpu.*"), directory)))
    return ctypes.cast(products.sgemm_, _POINTER).value or 0


def address(library: ctypes.CDLL, name: str) -> int | None:
    """Where a function of the library is; None where it has none of that name."""
    return ctypes.cast(getattr(library, name), _POINTER).value if hasattr(library, name) else None


def cache_directory() -> Path:
    """Where libraries are kept; raises OSError or, without a home directory, RuntimeError."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "hockey-dreamer"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _built(compiler: str, code: Code) -> Path:
    """The path of the verified library: the cached one, or a new one."""
    path = cache_directory() / f"{Path(code.source).stem}-{_key(compiler, code)}.so"
    if not path.exists():
        _build(compiler, code, path)
    elif not _is_whole(path):
        log.warning("the compiled %s in %s was damaged: it is built anew", code.source, path.parent)
        _build(compiler, code, path)
    return path


def _is_whole(library: Path) -> bool:
    try:
        return _digest_file(library).read_text() == hashlib.sha256(library.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError):
        return False


def _digest_file(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _key(compiler: str, code: Code) -> str:
    """A library for one kind of processor cannot run on every other."""
    here = Path(__file__).parent
    about = [compiler, *code.flags, *_target(), platform.machine(), _processor()]
    sources = b"".join((here / name).read_bytes() for name in (code.source, *code.included))
    return hashlib.sha256(sources + "\0".join(about).encode()).hexdigest()[:16]


def _target() -> list[str]:
    return shlex.split(os.environ.get(TARGET_VARIABLE) or "-march=native")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.node()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _build(compiler: str, code: Code, path: Path) -> None:
    """Compile to a name of its own, flush, then rename: whoever starts at the same time finds nothing half done."""
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        made = Path(directory) / "made.so"
        source = Path(__file__).parent / code.source
        command = [compiler, *code.flags, *_target(), "-o", str(made), str(source), "-lm"]
        subprocess.run(command, check=True, capture_output=True, timeout=BUILD_TIMEOUT_S)
        _declared(ctypes.CDLL(str(made)), code)  # what cannot be loaded is not kept
        with made.open("rb") as file:
            os.fsync(file.fileno())
        atomic_write_text(_digest_file(path), hashlib.sha256(made.read_bytes()).hexdigest())
        made.replace(path)
    sync_directory(path.parent)


def _reason(error: Exception) -> str:
    """In one line of some length."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"the compiler has not ended after {error.timeout:.0f} s"
    said = error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else ""
    return ascii(" ".join((said or str(error)).split())[:200])


def _declared(library: ctypes.CDLL, code: Code) -> ctypes.CDLL:
    library.probe.argtypes, library.probe.restype = [_FLOAT], _FLOAT
    for name, signature in code.signatures.items():
        function = getattr(library, name)
        function.argtypes, function.restype = [_TYPES[letter] for letter in signature], None
    return library

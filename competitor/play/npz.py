"""Recordings on the disk: arrays in one compressed .npz file, written and read without pickle."""

import io
import json
import os
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from competitor.errors import RecordingError

SUFFIX = ".npz"
Facts = TypeVar("Facts")
MOST_BYTES = 2**28
"""Of all arrays of a file when unpacked; the longest match that is made sense of has a tenth of it."""


def packed(arrays: Mapping[str, Any]) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def names_in(path: Path) -> frozenset[str]:
    """Return the names of the arrays in a file; RecordingError when it is missing, foreign or damaged."""
    _check_there(path)
    try:
        with zipfile.ZipFile(path) as file:
            return frozenset(name.removesuffix(".npy") for name in file.namelist())
    except Exception as error:  # damaged bytes reach many parsers, up to Python's own tokenizer
        raise _damaged(path) from error


def read_arrays(path: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays called `names`; RecordingError when the file is missing or damaged, or lacks one."""
    _check_there(path)
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile(path)
        # Opened here: np.load leaves a file that it opened itself unclosed when its directory is damaged.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if sum(entry.file_size for entry in file.zip.infolist()) > MOST_BYTES:
                raise ValueError("too large")
            return {name: file[name] for name in names}
    except Exception as error:  # damaged bytes reach many parsers, up to Python's own tokenizer
        raise _damaged(path) from error


def check_array(
    path: Path, name: str, array: NDArray[Any], kind: type, shape: tuple[int, ...], *, finite: bool = True
) -> None:
    """Raise RecordingError unless an array of a file has this type and shape; finite: and only finite numbers."""
    if array.dtype != kind or array.shape != shape:
        raise RecordingError(f"{path} is damaged: {name} is {array.dtype} {array.shape}, not of the shape {shape}")
    if finite and not np.isfinite(array).all():
        raise RecordingError(f"{path} is damaged: {name} holds numbers that are not finite")


def read_about(path: Path, array: NDArray[Any], model: type[Facts], version: int) -> Facts:
    """Return what an array of one text, JSON, says of its recording; RecordingError when it is not understood."""
    try:
        facts = json.loads(str(array))
        if facts["format_version"] != version:
            raise RecordingError(f"{path} has format {str(facts['format_version'])[:20]}, this version reads {version}")
        return TypeAdapter(model).validate_json(str(array))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordingError(f"{path} describes what it holds in a way that is not understood") from error


def _check_there(path: Path) -> None:
    if not os.path.isfile(path):
        raise RecordingError(f"there is no recorded round {path}")


def _damaged(path: Path) -> RecordingError:
    return RecordingError(f"{path} is not a recorded round, or it is damaged")

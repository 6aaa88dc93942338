"""Files that are either whole or absent: written to a temporary name, flushed to the disk, then renamed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def atomic_write(path: Path, write: Callable[[BinaryIO], object], mode: int = 0o666) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it to ``path``.

    mode: who may read and write it, as far as the process's umask lets them.

    Raises:
        OSError: the disk is full or the folder is not writable; what stood at ``path`` before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write ``data``; raises like ``atomic_write``."""
    atomic_write(path, lambda file: file.write(data))


def atomic_write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; raises like ``atomic_write``."""
    atomic_write_bytes(path, text.encode())


def atomic_write_both(path: Path, data: bytes, beside: Path, text: str) -> None:
    """Write two files that are nothing without each other; raises like ``atomic_write``, and then both are as before.

    A kill may come between the two renames: then ``beside`` is the new one.
    """

    def write(file: BinaryIO) -> None:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        atomic_write_text(beside, text)

    atomic_write(path, write)


def sync_directory(directory: Path) -> None:
    """Flush a directory to the disk, so that the names of its files survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

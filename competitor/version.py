"""Which version of the code is running: the package's number and, in a checkout, the commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

from competitor import __version__

GIT_TIMEOUT_S = 5.0


def code_version(root: Path | None = None) -> str:
    """For example `0.1.0`, or from a git checkout `0.1.0+g1a2b3c4` (with `.dirty` if files were changed).

    root: the folder that would be the checkout; None: the one this package lies in. Never fails: without git,
    without a checkout or without a commit it is the package's number alone.
    """
    folder = Path(__file__).resolve().parent.parent if root is None else root
    commit = _commit(folder) if (folder / ".git").exists() else ""
    return f"{__version__}+g{commit.replace('-', '.')}" if commit else __version__


def _commit(folder: Path) -> str:
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

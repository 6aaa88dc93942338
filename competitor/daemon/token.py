"""Where the access token comes from: the environment or a file. Never the command line, which everybody sees."""

from __future__ import annotations

import stat
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from competitor.errors import TokenError

VARIABLE = "COMPRL_ACCESS_TOKEN"
LONGEST_BYTES = 65535  # a value of comprl's protocol holds no more
WAYS = f"set {VARIABLE}, or write the token into a file of mode 600 and give --token-file FILE"


def read_token(file: Path | None, environ: Mapping[str, str]) -> str:
    """The token: the first line of `file`, or without a file COMPRL_ACCESS_TOKEN; blanks around it are dropped.

    Raises TokenError, whose line never shows the token, when there is none or no server could take it.
    """
    token = environ.get(VARIABLE, "") if file is None else _first_line(file)
    token = token.strip()
    where = VARIABLE if file is None else str(file)
    if not token:
        empty = file is not None or VARIABLE in environ
        raise TokenError(f"{f'the access token in {where} is empty' if empty else 'no access token'}: {WAYS}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in token):
        raise TokenError(f"the access token in {where} holds control characters or bytes that are not UTF-8")
    if len(token.encode()) > LONGEST_BYTES:
        raise TokenError(f"the access token in {where} is longer than {LONGEST_BYTES} bytes")
    return token


def exposure(file: Path) -> str | None:
    """A warning when others than the owner may read `file`, else None."""
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        return f"{file} may be read by other users (mode {mode:o}): run chmod 600 {file}"
    return None


def _first_line(file: Path) -> str:
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            return lines.readline(LONGEST_BYTES + 2)
    except OSError as error:
        raise TokenError(f"the token file {file} cannot be read: {error.strerror}; {WAYS}") from None

"""The list of a class: a CSV file with a column `name`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from competitor.arena.store import check_name
from competitor.errors import ConfigError

MOST_BYTES = 1 << 20


def read_names(path: Path) -> list[str]:
    """The names in a file with commas, semicolons or tabs between its cells.

    Raises ConfigError, with the line, for whatever makes it no list of different names.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: save it as CSV UTF-8") from error
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{path} is too large for a list of names: {MOST_BYTES:,} bytes are read at most")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}") from error
    return _names(path, rows)


def _names(path: Path, rows: list[tuple[int, list[str]]]) -> list[str]:
    header = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    if header.count("name") != 1:
        raise ConfigError(f"{path}: the first line has to name the columns, one of them `name`")
    lines: dict[str, int] = {}
    names = []
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise ConfigError(f"{path}, line {line}: {len(row)} cells, but the first line has {len(header)}")
        name = row[header.index("name")].strip()
        try:
            check_name(name)
        except ConfigError as error:
            raise ConfigError(f"{path}, line {line}: {error}") from error
        if (before := lines.setdefault(name.lower(), line)) != line:
            raise ConfigError(f"{path}, line {line}: {name} is in line {before} already")
        names.append(name)
    if not names:
        raise ConfigError(f"{path} has no names below its first line")
    return names

"""What measurements share: figures go as a table to the screen and, with the machine they are of, as JSON to a file."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from competitor.screen import Table, print_table
from dreamer.files import atomic_write_text


def machine() -> str:
    """Processor, cores and interpreter: what a figure has to be read with."""
    facts = Path("/proc/cpuinfo")  # where Linux tells what the processor calls itself
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    processor = next(names, platform.processor() or platform.machine())
    return f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}"


def report(figures: Mapping[str, Any], json_path: Path | None, *tables: Table) -> None:
    """Print the tables; write the figures and the machine, if there is a path. Raises OSError."""
    for table in tables:
        print_table(table)
    if json_path is not None:
        atomic_write_text(json_path, json.dumps({"machine": machine(), **figures}, indent=2) + "\n")

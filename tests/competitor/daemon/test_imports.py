"""What the wires are built on can be imported without torch, which takes seconds."""

from __future__ import annotations

import subprocess
import sys

LIGHT = (
    *("daemon.comprl", "daemon.tournament", "daemon.supervisor", "daemon.records", "daemon.websocket"),
    *("engine.engine", "engine.safety", "engine.session", "play.finished_match"),
)


def test_only_the_brain_brings_torch() -> None:
    imports = "\n".join(f"import competitor.{name}" for name in LIGHT)
    code = f"{imports}\nimport sys\nprint('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout == "False\n", result.stderr

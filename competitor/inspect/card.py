"""A checkpoint's model card on the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dreamer.agent import Dreamer

ABOUT = {
    "preset": "preset",
    "environment_steps": "environment steps",
    "updates": "updates",
    "rounds": "rounds played",
    "training_seconds": "seconds of training",
    "code_version": "made by version",
    "saved_at": "saved",
    "format_version": "format",
    "sha256": "sha256",
}
SIZES = ("latent", "hidden", "groups", "classes", "gaussian_size", "embedding", "units")


def print_card(path: Path, agent: Dreamer, card: dict[str, Any], console: Console | None = None) -> None:
    """Print what `card` says of the checkpoint at `path`, which `agent` was loaded from."""
    console = console or Console()
    console.print(_about(path, agent, card))
    results = [result for result in card.get("results", []) if isinstance(result, dict)]
    if results:
        console.print(_results(results))


def _about(path: Path, agent: Dreamer, card: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("checkpoint", str(path))
    for key, words in ABOUT.items():
        if key in card:
            table.add_row(words, _text(card[key]))
    table.add_row("parameters", f"{sum(weights.numel() for weights in agent.parameters()):,}")
    sizes = agent.config.model
    table.add_row("model", ", ".join(f"{key} {getattr(sizes, key)}" for key in SIZES))
    return table


def _results(results: list[dict[str, Any]]) -> Table:
    table = Table(title="measured results", title_justify="left")
    for column in ("opponent", "rounds", "won", "drawn", "lost", "win rate", "95 %"):
        table.add_column(column, justify="left" if column == "opponent" else "right")
    for result in results:
        low, high = result.get("ci95", (float("nan"), float("nan")))
        counts = [_text(result.get(key, "-")) for key in ("opponent", "rounds", "wins", "draws", "losses")]
        rate = 100 * float(result.get("win_rate", "nan"))
        table.add_row(*counts, f"{rate:.1f} %", f"{100 * low:.1f} - {100 * high:.1f}")
    return table


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)

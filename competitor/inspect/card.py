"""A checkpoint's model card on the screen."""

from pathlib import Path
from typing import Any

from competitor.evaluate.card import results_on, summaries
from competitor.screen import Table, print_facts, print_line, print_table
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


def print_card(path: Path, agent: Dreamer, card: dict[str, Any]) -> None:
    """Print what `card` says of the checkpoint at `path`, which `agent` was loaded from."""
    print_facts(_facts(path, agent, card))
    results = results_on(card)
    if results:
        print_line("")
        print_table(_results(results))
    for line in summaries(card):
        print_line(line)


def _facts(path: Path, agent: Dreamer, card: dict[str, Any]) -> dict[str, str]:
    return {
        "checkpoint": str(path),
        **{words: _text(card[key]) for key, words in ABOUT.items() if key in card},
        "parameters": f"{sum(weights.numel() for weights in agent.parameters()):,}",
        "model": ", ".join(f"{key} {value}" for key, value in agent.config.model.model_dump().items()),
    }


def _results(results: list[dict[str, Any]]) -> Table:
    rows = []
    for result in results:
        counts = [_text(result.get(key, "-")) for key in ("opponent", "rounds", "wins", "draws", "losses")]
        interval = result.get("ci95")
        low, high = interval if isinstance(interval, list) and len(interval) == 2 else (None, None)
        rows.append([*counts, f"{_percent(result.get('win_rate'))} %", f"{_percent(low)} - {_percent(high)}"])
    return Table(["opponent", "rounds", "won", "drawn", "lost", "win rate", "95 %"], rows, "measured results")


def _percent(share: object) -> str:
    """A share that a card names, which may hold anything."""
    return f"{100 * share:.1f}" if isinstance(share, int | float) and abs(share) <= 1 else "?"


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)

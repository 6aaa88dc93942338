"""What has been measured of a checkpoint, written on its model card."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from competitor.errors import ConfigError
from competitor.evaluate.evaluation import EvaluationReport
from competitor.evaluate.gauntlet import Gauntlet
from competitor.options import check_place
from competitor.players import checkpoint_path
from competitor.players.specs import kind_of
from dreamer.checkpoint import load_checkpoint, read_card, save_checkpoint

Summary = TypeVar("Summary", bound="Gauntlet | Exploitability")
RESULT = (
    *("opponent", "rounds", "wins", "draws", "losses", "score"),
    *("win_rate", "ci95", "mean_steps", "elo", "elo_error95"),
)


@dataclass(frozen=True)
class Exploitability:
    """What an exploiter takes from `checkpoint`: points as a share, a draw being half a point.

    minutes, updates: of its training, in processor time, so that a busy machine measures the same. exploiter: where its
    policy lies, a player as `sparring:PATH`.
    """

    checkpoint: str
    points: float
    wins: int
    draws: int
    losses: int
    rounds: int
    minutes: float
    updates: int
    seed: int
    exploiter: str

    @property
    def line(self) -> str:
        return (
            f"after {self.minutes:.1f} minutes of one core ({self.updates:,} updates) the exploiter takes "
            f"{100 * self.points:.1f} % of the points from {self.checkpoint}: {self.wins} won, {self.draws} drawn, "
            f"{self.losses} lost of {self.rounds} rounds; to train against it: {self.exploiter}"
        )


def can_be_carded(player: str) -> None:
    """Raise ConfigError for a player without a card, CheckpointError for a damaged one, StorageError where none can be
    written: before the work.
    """
    if kind_of(player) != "checkpoint":
        raise ConfigError(f"{player} has no model card: --card is for checkpoints")
    read_card(checkpoint_path(player))
    check_place(weights_of(player))


def write_on_card(player: str, facts: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Lay `facts`, made from the card as it is, over a checkpoint's card; the weights stay. Raises CheckpointError."""
    agent, card = load_checkpoint(checkpoint_path(player))
    save_checkpoint(weights_of(player), agent, {**card, **facts(card)})


def facts_of(report: EvaluationReport, card: Mapping[str, Any]) -> dict[str, Any]:
    """What a card says of a report: results by opponent beside those of others that it has, and the gauntlet."""
    about = {"seed": report.seed, "policy": report.policy}
    results = [{key: getattr(result, key) for key in RESULT} | about for result in report.results]
    named = [result["opponent"] for result in results]
    before = [result for result in results_on(card) if result.get("opponent") not in named]
    gauntlet = {"gauntlet": asdict(report.gauntlet) | about} if report.gauntlet else {}
    return {"results": [*before, *results], **gauntlet}


def results_on(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results by opponent on a card, which may hold anything under this name."""
    results = card.get("results")
    return [result for result in results if isinstance(result, dict)] if isinstance(results, list) else []


def summaries(card: Mapping[str, Any]) -> list[str]:
    """What a card says of the gauntlet and of exploitability, in words; a card may hold anything under these names."""
    found = _summary(card.get("gauntlet"), Gauntlet), _summary(card.get("exploitability"), Exploitability)
    return [summary.line for summary in found if summary is not None]


def _summary(value: object, kind: type[Summary]) -> Summary | None:
    known = {field.name for field in fields(kind)}
    plain = {key: value[key] for key in value if key in known} if isinstance(value, dict) else None
    try:
        return TypeAdapter(kind).validate_python(plain)
    except ValidationError:
        return None


def weights_of(player: str) -> Path:
    """The file of weights (.safetensors) of a player that is a checkpoint. Raises CheckpointError."""
    path = checkpoint_path(player)
    return path if path.suffix == ".safetensors" else path.with_name(f"{path.name}.safetensors")

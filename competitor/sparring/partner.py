"""From a run to a partner: play it, write down how it plays, and put it where partners are found."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from competitor.evaluate.evaluation import evaluate
from competitor.options import written
from competitor.play.rounds import Round
from competitor.play.style import style_of
from competitor.players import Player, make_player
from competitor.players.sparring import PartnerCard, SparringPlayer, read_partner, write_partner
from competitor.screen import Count
from competitor.sparring.run import Run

AGAINST = ("weak", "strong", "champion")
STYLE_AGAINST = ("weak", "strong")  # the same for everybody, so that styles can be compared


def measure(
    player: Player, against: Sequence[str], *, rounds: int, seed: int, count: Count
) -> tuple[dict[str, dict[str, float]], dict[str, float | None]]:
    """Play paired rounds as `evaluate` does: results by opponent, and the style against the basic opponents."""
    seen: list[Round] = []
    opponents = {name: make_player(name, seed=seed + 1 + place) for place, name in enumerate(against)}
    report = evaluate(
        player, opponents, rounds=rounds, seed=seed, stops_early=False, on_round=seen.append, on_progress=count
    )
    styled = [round_ for round_ in seen if round_.setup.opponent in STYLE_AGAINST]
    style = asdict(style_of(styled)) if styled else {}
    results = {
        one.opponent: {"won": one.wins, "drawn": one.draws, "lost": one.losses, "points": one.score}
        for one in report.results
    }
    return results, {key: value if value is None else round(value, 3) for key, value in style.items()}


def export(run: Run, which: str, to: Path, *, rounds: int, seed: int, count: Count) -> tuple[Path, PartnerCard]:
    """Measure the policy `which` (best or latest) of a run and write it with its card into the folder `to`.

    Raises CheckpointError when the run has no such policy yet, StorageError when it cannot be written.
    """
    policy, card = read_partner(run.path / f"{which}.safetensors")
    player = SparringPlayer(policy, run.name, repeat=card.repeat)
    results, plays = measure(player, AGAINST, rounds=rounds, seed=seed, count=count)
    made = {**card.made, "recipe": run.recipe.model_dump(exclude={"style", "held_out"})}
    whole = card.model_copy(update={"made": made, "results": results, "plays": plays})
    path = to / f"{run.name}.safetensors"
    with written(path):
        write_partner(path, policy, whole)
    return path, whole

"""From a run to a partner: play it, write down how it plays, and put it where partners are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from competitor.evaluate.evaluation import paired_schedule
from competitor.evaluate.results import Meeting, Outcome
from competitor.options import written
from competitor.play.rounds import Round, play_rounds
from competitor.play.style import style_of
from competitor.players import Player, make_player
from competitor.players.sparring import PartnerCard, SparringPlayer, read_partner, write_partner
from competitor.sparring.run import Run

AGAINST = ("weak", "strong", "champion")
STYLE_AGAINST = ("weak", "strong")  # the same for everybody, so that styles can be compared
RINKS = 128


def measure(
    player: Player, against: Sequence[str], *, rounds: int, seed: int, on_round: Callable[[Round], None]
) -> tuple[dict[str, dict[str, float]], dict[str, float | None]]:
    """Play paired rounds as `evaluate` does: results by opponent, and the style against the basic opponents."""
    results: dict[str, dict[str, float]] = {}
    seen: list[Round] = []
    for place, name in enumerate(against):
        opponent = make_player(name, seed=seed + 1 + place)
        schedule = paired_schedule(name, rounds, seed)
        played = play_rounds(player, opponent, schedule, rinks=RINKS, on_round=on_round)
        results[name] = _counted(name, played)
        seen += played if name in STYLE_AGAINST else []
    style = asdict(style_of(seen)) if seen else {}
    return results, {key: value if value is None else round(value, 3) for key, value in style.items()}


def _counted(name: str, played: Sequence[Round]) -> dict[str, float]:
    meeting = Meeting(name, len(played))
    for number, round_ in enumerate(played):
        meeting.enter(number, Outcome.of(round_))
    result = meeting.result()
    return {"won": result.wins, "drawn": result.draws, "lost": result.losses, "points": result.score}


def export(
    run: Run, which: str, to: Path, *, rounds: int, seed: int, on_round: Callable[[Round], None]
) -> tuple[Path, PartnerCard]:
    """Measure the policy `which` (best or latest) of a run and write it with its card into the folder `to`.

    Raises CheckpointError when the run has no such policy yet, StorageError when it cannot be written.
    """
    policy, card = read_partner(run.path / f"{which}.safetensors")
    player = SparringPlayer(policy, run.name, repeat=card.repeat)
    results, plays = measure(player, AGAINST, rounds=rounds, seed=seed, on_round=on_round)
    made = {**card.made, "recipe": run.recipe.model_dump(exclude={"style", "held_out"})}
    whole = card.model_copy(update={"made": made, "results": results, "plays": plays})
    path = to / f"{run.name}.safetensors"
    with written(path):
        write_partner(path, policy, whole)
    return path, whole

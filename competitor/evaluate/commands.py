"""The command `evaluate`. Heavy imports stand inside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from competitor.errors import EXIT_INTERRUPTED, StorageError, plain
from competitor.options import (
    CONFIG,
    ENGINE,
    JSON,
    MOST_SEED,
    ROUNDS,
    SET,
    Command,
    ResultFolder,
    also_written,
    json_text,
)
from competitor.screen import counter
from competitor.system import use_threads

if TYPE_CHECKING:
    from competitor.config import Config
    from competitor.evaluate.cross_table import CrossTable
    from competitor.evaluate.evaluation import EvaluationReport


@click.command(cls=Command)
@click.argument("player", metavar="CHECKPOINT")
@click.option("--against", default="weak,strong", show_default=True, help="Opponents, separated by commas.")
@click.option("--rounds", type=ROUNDS, default=200, show_default=True, help="Rounds per opponent.")
@click.option("--sampled", is_flag=True, help="Sample the actions, as in training.")
@click.option("--search", is_flag=True, help="CHECKPOINT tries its actions out: the same as search:CHECKPOINT.")
@click.option("--cross", is_flag=True, help="Everybody plays everybody, rated together.")
@JSON
@click.option("--card", "on_card", is_flag=True, help="Write the results on CHECKPOINT's card.")
@click.option("--record", "record_dir", type=ResultFolder(), help="Keep every round as a file in this folder.")
@click.option(
    "--seed", type=click.IntRange(0, MOST_SEED), default=1, show_default=True, help="Of starts and players' chance."
)
@ENGINE
@CONFIG
@SET
def evaluate(
    player: str,
    against: str,
    rounds: int,
    sampled: bool,
    search: bool,
    cross: bool,
    json_path: Path | None,
    on_card: bool,
    record_dir: Path | None,
    seed: int,
    engine: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> int:
    """Play a checkpoint against opponents in paired rounds and show how good it is.

    CHECKPOINT and opponents: a file, a run (its best), champion (the shipped agent), weak, strong, random,
    module:Class, sb3:FILE.zip, sparring:NAME (a sparring partner), search:CHECKPOINT (one that tries its actions out
    before it plays), or gauntlet (all partners).

    \b
    Examples:
      cli.py evaluate champion
      cli.py evaluate champion --against gauntlet --card
      cli.py evaluate champion --search --against champion
      cli.py evaluate runs/first/checkpoints/latest.safetensors --rounds 1000 --json result.json
      cli.py evaluate strong --against weak,random --record rounds/
      cli.py evaluate champion --against strong,runs/first/checkpoints/best
    """
    if search:
        from competitor.players import searching

        player = searching(player)
    if cross and (record_dir or on_card):
        raise click.UsageError("--cross keeps neither rounds nor cards: leave out --record and --card")
    others = [name.strip() for name in against.split(",") if name.strip()]
    if not others or (cross and set(others) == {player}):
        raise click.UsageError("--against needs at least one opponent, --cross one that is not CHECKPOINT itself")
    for name in dict.fromkeys(name for name in others if others.count(name) > 1 or (cross and name == player)):
        click.echo(f"note: {plain(name)} is named more than once and takes part once", err=True)
    from competitor.config import as_overrides, load_config
    from competitor.evaluate.card import can_be_carded, facts_of, write_on_card
    from competitor.evaluate.cross_table import CrossTable
    from competitor.evaluate.gauntlet import GAUNTLET, with_gauntlet
    from competitor.evaluate.tables import print_cross_table, print_report

    config = load_config(config_path, overrides=overrides + as_overrides({"rink.engine": engine}))
    if on_card:
        can_be_carded(player)
    names = [player, *with_gauntlet(others)]
    result = _play(config, names, cross=cross, record_dir=record_dir, rounds=rounds, seed=seed, sampled=sampled)
    if GAUNTLET in others and not isinstance(result, CrossTable):
        result = result.with_gauntlet()
    with also_written(json_path, json_text(result)):
        print_cross_table(result) if isinstance(result, CrossTable) else print_report(result)
    if on_card and not isinstance(result, CrossTable) and not result.partial:
        write_on_card(player, lambda card: facts_of(result, card))
    if not isinstance(result, CrossTable) and result.record_error:
        raise StorageError(result.record_error)
    return EXIT_INTERRUPTED if result.partial else 0


def _play(
    config: Config, names: list[str], *, cross: bool, record_dir: Path | None, rounds: int, seed: int, sampled: bool
) -> CrossTable | EvaluationReport:
    """Make the players and let them play, counting rounds on the screen."""
    from competitor.evaluate.cross_table import cross_table
    from competitor.evaluate.evaluation import evaluate
    from competitor.players import make_player

    rink = config.rink
    use_threads(config.run.threads)
    judged, *rest = [
        make_player(name, seed=seed + place, deterministic=not sampled, keep_mode=rink.keep_mode)
        for place, name in enumerate(names)
    ]
    opponents = dict(zip(names[1:], rest, strict=True))
    settings: dict[str, Any] = {"rounds": rounds, "seed": seed, **rink.model_dump()}
    with counter("rounds") as count:
        if cross:
            return cross_table({names[0]: judged, **opponents}, on_progress=count, **settings)
        return evaluate(judged, opponents, record_dir=record_dir, on_progress=count, **settings)

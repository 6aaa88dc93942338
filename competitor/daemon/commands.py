"""The commands around tournaments: `compete`, `status` and `matches`. `cli.py` takes them in.

Like there, heavy imports stand inside the commands.
"""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from competitor.errors import EXIT_INTERRUPTED
from competitor.options import CONFIG, FILE, FOLDER, SET, Command, ResultFile, also_written, check_place
from competitor.screen import match_count, print_facts, print_line

if TYPE_CHECKING:
    from competitor.config import CompeteConfig
    from competitor.daemon.options import CompeteOptions

TIMES = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
MOST = 1_000_000_000  # matches: more than anybody plays, and a number that every database can hold


class Since(click.DateTime):
    """A moment of this machine's clock, as unix seconds."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:  # type: ignore[override]
        """Return the seconds; fails for a moment beyond the calendar."""
        try:
            return float(super().convert(value, param, ctx).timestamp())
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is beyond the calendar", param, ctx)


@click.command()
@click.argument("checkpoint", metavar="[PLAYER]", default="champion")
@click.option("--server", metavar="ADDRESS", help="comprl://HOST:PORT, HOST, ws://, wss://.  [env: COMPRL_SERVER_URL]")
@click.option("--token-file", type=FILE, help="Holds the access token.  [otherwise: env COMPRL_ACCESS_TOKEN]")
@click.option("--records", type=FOLDER, default=Path("records"), show_default=True, help="Keeps matches and logs.")
@click.option("--connections", type=click.IntRange(1, 256), default=1, show_default=True, help="Matches at once.")
@click.option("--games", type=click.IntRange(1, MOST), help="Stop after so many finished matches.")
@click.option("--until", metavar="TIME", help="Finish then: 18:00, 2026-11-30T18:00, or 90m, 2h from now.")
@click.option("--http", metavar="[HOST:]PORT", help="Answer /healthz and /metrics there.")
@click.option(
    "--search/--no-search",
    default=None,
    help="Try actions out before one is played.  [default: a checkpoint does, in up to 16 matches at once]",
)
@click.option("--dry-run", is_flag=True, help="Check everything but the connection, and say what would happen.")
@click.option("--ca-file", type=FILE, help="Certificates to trust besides the system's, for wss://.")
@CONFIG
@SET
def compete(*, search: bool | None, dry_run: bool, **options: Any) -> int:
    """Play on a tournament server until told to stop; Ctrl-C finishes the matches in play.

    PLAYER: champion (the shipped agent), a checkpoint, a run (its best), search: before one of those, module:Class,
    sb3:FILE.zip, sparring:NAME, weak or strong. docs/compete.md tells everything.

    \b
    Examples:
      cli.py compete --server comprl://comprl.example.org:65335 --token-file token
      cli.py compete runs/first --server ws://localhost:8080 --games 10
      cli.py compete --server comprl.example.org --token-file token --dry-run
      cli.py compete --server comprl.example.org --connections 4 --until 18:00 --http 9100
    """
    from competitor.daemon.supervisor import starting

    with starting():
        from competitor.daemon.options import read_options, with_search

        try:
            asked = read_options(os.environ, time.time(), **options)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        asked = with_search(asked, search)
        if dry_run:
            print_facts(_rehearse(asked))
            print_line("all is well; nothing was connected and nothing written")
            return 0
        from competitor.daemon.compete import compete

        return 0 if compete(asked) else EXIT_INTERRUPTED


def _rehearse(options: "CompeteOptions") -> dict[str, str]:
    """Check settings, player, token, certificates, records and port as `compete` does; returns what would happen.

    It does not connect: a login takes a place in the server's queue, and one that is given up counts against an
    account. Nothing is left on the disk. Raises what `compete` raises before it connects.
    """
    from competitor.daemon.compete import load, weights_digest
    from competitor.daemon.database import Wanted
    from competitor.daemon.health import HealthServer
    from competitor.daemon.match_tables import standings
    from competitor.daemon.telemetry import Telemetry
    from competitor.daemon.websocket import checked

    config = options.load_config()
    digest = weights_digest(options.checkpoint)
    check_place(options.records / "match", shown=options.records)
    played = sum(one.tally.matches + one.unfinished for one in standings(options.records, Wanted()))
    if options.http is not None:
        stuck_after_s = config.compete.stuck_after_s
        HealthServer(*options.http, Telemetry(), lambda: "dry run", stuck_after_s=stuck_after_s).close()
    load(options, config)
    if options.address.wire == "websocket":
        checked(options.address, options.token, options.ca_file)
    return _facts(options, config.compete, digest, played)


def _facts(options: "CompeteOptions", compete: "CompeteConfig", digest: str, played: int) -> dict[str, str]:
    from competitor.daemon.compete import how
    from competitor.daemon.database import SHOWN_DIGITS
    from competitor.wire.address import host_and_port

    ends = ["a signal stops it"]
    if options.games is not None:
        ends.insert(0, f"{match_count(options.games)} {'is' if options.games == 1 else 'are'} finished")
    if options.until is not None:
        ends.insert(0, f"it is {options.until}")
    tries = f"{compete.attempts} times in a row at most" if compete.attempts else "for ever"
    facts = {
        "server": f"{options.address}{'' if options.address.scheme == 'wss' else ' (not encrypted)'}",
        "token": f"{len(options.token)} characters{f', account {options.account}' if options.account else ''}",
        "player": f"{options.checkpoint} ({digest[:SHOWN_DIGITS]}), {how(compete)}; it has answered test observations",
        "records": f"{options.records}, which can be written and holds {match_count(played)}",
        "plays": f"{options.connections} at once, until {' or '.join(ends)}",
        "answers": f"within {1000 * compete.deadline_s:.0f} ms, else the strong basic opponent's",
        "reconnects": f"after {compete.retry_first_s:g} to {compete.retry_most_s:g} s, {tries}",
    }
    if options.http is not None:
        facts["health"] = f"http://{host_and_port(*options.http)}/healthz and /metrics"
    if options.warning:
        facts["warning"] = options.warning
    return facts


@click.command()
@click.argument("directory", metavar="[DIR]", type=FOLDER, default=Path("records"))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(directory: Path, as_json: bool) -> int:
    """Show the daemons that play, by what they last said; exit code 1 if none lives. DIR: their records.

    \b
    Examples:
      cli.py status
      cli.py status records/ --json
    """
    from competitor.daemon.status import observe, print_status, status_json

    daemons = observe(directory)
    click.echo(status_json(daemons)) if as_json else print_status(daemons, directory)
    return 0 if any(daemon.works for daemon in daemons) else 1


@click.command(cls=Command)
@click.argument("directory", metavar="[DIR]", type=FOLDER, default=Path("records"))
@click.option("--last", type=click.IntRange(1, MOST), default=20, show_default=True, help="How many matches to show.")
@click.option("--opponents", is_flag=True, help="Show a table per opponent instead, of all matches.")
@click.option("--opponent", metavar="NAME", help="Only matches against this one; * and ? stand for anything.")
@click.option("--checkpoint", metavar="NAME", help="Only matches of this player, as given to compete, or its sha256.")
@click.option("--server", metavar="ADDRESS", help="Only matches there.")
@click.option("--account", metavar="NAME", help="Only matches with the token of this file: NAME or NAME.txt.")
@click.option("--since", metavar="TIME", type=Since(TIMES), help="Only those that ended then or later.")
@click.option("--json", "json_path", type=ResultFile(), help="Write them here too, with all that is known of them.")
@click.option("--csv", "csv_path", type=ResultFile(), help="Write a line per match here.")
def matches(
    directory: Path,
    last: int,
    opponents: bool,
    since: float | None,
    json_path: Path | None,
    csv_path: Path | None,
    **patterns: str | None,
) -> None:
    """List the matches played on servers, with the results so far. DIR: their records, if not in records/.

    \b
    Examples:
      cli.py matches
      cli.py matches --opponents --checkpoint champion --server "comprl://*"
      cli.py matches records/ --last 1000 --since 2026-11-30 --csv matches.csv
    """
    from competitor.daemon.database import Wanted, last_matches
    from competitor.daemon.match_tables import matches_csv, matches_json, print_matches, print_standings, standings

    wanted = Wanted(**patterns, since_s=since)
    damaged: list[str] = []
    listed = last_matches(directory, last, damaged, wanted)
    stands = standings(directory, wanted)
    with also_written(json_path, matches_json(listed, stands)), also_written(csv_path, matches_csv(listed)):
        if opponents and listed:
            print_standings(stands)
        else:
            print_matches(listed, directory, damaged=len(damaged), filtered=wanted != Wanted())

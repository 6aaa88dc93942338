"""What `compete --dry-run` does: everything is checked but the connection."""

from competitor.config import CompeteConfig
from competitor.daemon.compete import how, load, weights_digest
from competitor.daemon.database import SHOWN_DIGITS, Wanted
from competitor.daemon.health import HealthServer
from competitor.daemon.match_tables import standings
from competitor.daemon.options import CompeteOptions
from competitor.daemon.telemetry import Telemetry
from competitor.options import check_place
from competitor.screen import match_count
from competitor.wire.address import host_and_port


def rehearse(options: CompeteOptions) -> dict[str, str]:
    """Check settings, player, token, certificates, records and port as `compete` does; returns what would happen.

    It does not connect: a login takes a place in the server's queue, and one that is given up counts against an
    account. Nothing is left on the disk. Raises what `compete` raises before it connects.
    """
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


def _facts(options: CompeteOptions, compete: CompeteConfig, digest: str, played: int) -> dict[str, str]:
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

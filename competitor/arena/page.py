"""The arena's web page as HTML, made from the template pages/arena.html."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from html import escape
from importlib import resources
from string import Template

from competitor.arena.store import PLAYED, Entry, Standing
from competitor.arena.view import Running, View

REFRESH_S = 5
RESULTS = 25
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


def render(view: View, host: str, version: str) -> str:
    """The page as it looks now. host: "name:port" by which the client found it."""
    running, now = view.running(), view.now()
    standings = _table(map(_standing, view.leaderboard()), 7, "Nobody has finished a match yet.")
    matches = _table(map(_match, running), 5, "No match is being played.")
    results = _table((_result(entry, now) for entry in view.recent(RESULTS)), 4, "There are no results yet.")
    return _template().substitute(
        refresh_s=REFRESH_S,
        version=escape(version),
        comprl=escape(f"{host.rsplit(':', 1)[0]}:{view.comprl_port}"),
        websocket=escape(f"ws://{host}/play"),
        running=len(running),
        waiting=view.waiting(),
        standings=standings,
        matches=matches,
        results=results,
    )


@cache
def _template() -> Template:
    return Template(resources.files("competitor.arena").joinpath("pages/arena.html").read_text(encoding="utf-8"))


def _table(rows: Iterable[str], columns: int, if_empty: str) -> str:
    """Table rows, or one that says why there are none."""
    return "\n".join(rows) or f'<tr><td colspan="{columns}" class="none">{if_empty}</td></tr>'


def _row(*cells: tuple[str, str]) -> str:
    """A table row of (class, HTML) cells."""
    return "<tr>" + "".join(f'<td class="{kind}">{html}</td>' for kind, html in cells) + "</tr>"


def _standing(line: Standing) -> str:
    bot = ' <span class="bot">house bot</span>' if line.role == "bot" else ""
    rating = f'<span title="mu {line.rating.mu:.2f}, sigma {line.rating.sigma:.2f}">{line.rating.shown:.2f}</span>'
    counts = (line.games, line.wins, line.draws, line.losses)
    numbers = [("number", str(count)) for count in counts]
    return _row(("number", str(line.rank)), ("name", escape(line.name) + bot), ("number", rating), *numbers)


def _match(match: Running) -> str:
    first, second = map(escape, match.users)
    return _row(
        ("name right", first),
        ("score", _score(match.scores)),
        ("name", second),
        ("number", f"{match.round} of {match.rounds}"),
        ("number", _duration(match.seconds)),
    )


def _result(entry: Entry, now: float) -> str:
    result = entry.result
    first, second = (
        f"{escape(name)} {_change(before, after)}"
        for name, before, after in zip(result.users, entry.before, entry.after, strict=True)
    )
    how = "" if result.ending == PLAYED else f"<br><small>{escape(_why(entry))}</small>"
    age = f"{_duration(now - result.ended_at)} ago{how}"
    return _row(("name right", first), ("score", _score(result.scores)), ("name", second), ("number", age))


def _score(scores: tuple[int, int]) -> str:
    return f"{scores[0]} : {scores[1]}"


def _change(before: float, after: float) -> str:
    """By how much a match moved a rating; nothing for one that did not count."""
    if before == after:
        return ""
    kind = "up" if after > before else "down"
    return f'<small class="{kind}">{after - before:+.2f}</small>'


def _why(entry: Entry) -> str:
    result = entry.result
    return f"{result.left_by}: {result.ending}" if result.left_by else result.ending


def _duration(seconds: float) -> str:
    """A duration in its largest unit, for example "12 s" or "3 h"."""
    for unit_s, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"

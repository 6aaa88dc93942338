"""What a daemon is asked to do, read from the command line and the environment before anything heavy is loaded.

The access token comes from the environment or a file, never from the command line, which everybody sees.
"""

import ipaddress
import re
import stat
import time
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

from competitor.config import Config, load_config
from competitor.errors import TokenError
from competitor.wire.address import Address, server_address

LOOPBACK = "127.0.0.1"
TOKEN_VARIABLE = "COMPRL_ACCESS_TOKEN"
LONGEST_TOKEN_BYTES = 65535  # a value of comprl's protocol holds no more
SEARCHED_MATCHES = 16
"""At once, at 10 to 30 ms each: an answer within half a second, where a server waits for two or more."""
WAYS = f"set {TOKEN_VARIABLE}, or write the token into a file of mode 600 and give --token-file FILE"
FORMS = "HH:MM, a date and time such as 2026-11-30T18:00, or a duration such as 90m, 2h or 1h30m"
CALENDAR_END_S = 253_402_300_800.0  # the year 10000
_DURATION = re.compile(
    r"(?:(?P<days>\d{1,4})d)?(?:(?P<hours>\d{1,5})h)?(?:(?P<minutes>\d{1,6})m)?(?:(?P<seconds>\d{1,8})s)?", re.ASCII
)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})", re.ASCII)


@dataclass(frozen=True)
class Until:
    """When to finish: at a moment of the wall clock in unix seconds, or after so long, whatever the wall clock does."""

    at_s: float
    for_s: float | None = None
    zone: tzinfo | None = None  # in which the moment is shown; None: the local one

    def watch(
        self, wall_clock: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
    ) -> Callable[[], bool]:
        """Return what says whether the time has come; a duration begins now."""
        if self.for_s is None:
            return lambda: wall_clock() >= self.at_s
        ends_s = clock() + self.for_s
        return lambda: clock() >= ends_s

    def __str__(self) -> str:
        return f"{datetime.fromtimestamp(self.at_s, UTC).astimezone(self.zone):%H:%M}"


@dataclass(frozen=True)
class CompeteOptions:
    """What a daemon is asked to do; `load_config` reads the settings, now and at every SIGHUP.

    checkpoint: a path, or "champion". connections: matches at once. games: finished matches to play, until: when to
    finish; None: no limit. account: what the records call it. http: host and port to answer on. ca_file: certificates
    to trust besides the system's. warning: to be shown.
    """

    address: Address
    token: str = field(repr=False)
    checkpoint: str
    records: Path
    load_config: Callable[[], Config]
    connections: int = 1
    games: int | None = None
    until: Until | None = None
    account: str = ""
    http: tuple[str, int] | None = None
    ca_file: Path | None = None
    warning: str | None = None


def read_options(
    environ: Mapping[str, str],
    now_s: float,
    *,
    server: str | None,
    token_file: Path | None,
    until: str | None,
    http: str | None,
    ca_file: Path | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
    **as_given: Any,
) -> CompeteOptions:
    """What the options of `cli.py compete` ask for. now_s: unix seconds. as_given: CompeteOptions of the same name.

    Raises AddressError, TokenError, and ValueError for a time or a port that is none.
    """
    address = server_address(server, environ)
    if ca_file is not None and address.scheme != "wss":
        raise ValueError(f"--ca-file is for wss:// servers, and {address} is none")
    return CompeteOptions(
        address=address,
        token=read_token(token_file, environ),
        load_config=partial(load_config, config_path, overrides=overrides),
        account="" if token_file is None else token_file.stem,
        until=None if until is None else parse_until(until, now_s),
        http=None if http is None else _host_and_port(http),
        ca_file=ca_file,
        warning=None if token_file is None else exposure(token_file),
        **as_given,
    )


def with_search(asked: CompeteOptions, search: bool | None) -> CompeteOptions:
    """`asked` with a player that searches (docs/search.md), if it shall.

    search None: a checkpoint does that is to play its likeliest actions, in few enough matches at once to answer all in
    time. Raises PlayerError when there is no such player, and what reading the settings raises.
    """
    from competitor.players import kind_of, searching  # brings torch

    if search is None:
        fit = asked.connections <= SEARCHED_MATCHES and asked.load_config().compete.deterministic
        search = fit and kind_of(asked.checkpoint) == "checkpoint"
    return replace(asked, checkpoint=searching(asked.checkpoint)) if search else asked


def _host_and_port(text: str) -> tuple[str, int]:
    """PORT on this machine's loopback, or HOST:PORT; an IPv6 address stands in brackets."""
    found = re.fullmatch(r"(?:(?P<host>[^:\s\[\]]+|\[[0-9a-fA-F:.]+\]):)?(?P<port>[0-9]{1,5})", text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError(f"--http '{text}' is not a port: expected PORT or HOST:PORT, for example 9100")
    host = found["host"] or LOOPBACK
    if host.startswith("["):
        try:
            host = str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(f"--http '{text}' is not a port: {host} is not an IPv6 address") from None
    return host, int(found["port"])


def read_token(file: Path | None, environ: Mapping[str, str]) -> str:
    """The token: the first line of `file`, or without a file COMPRL_ACCESS_TOKEN; blanks around it are dropped.

    Raises TokenError, whose line never shows the token, when there is none or no server could take it.
    """
    token = environ.get(TOKEN_VARIABLE, "") if file is None else _first_line(file)
    token = token.strip()
    where = TOKEN_VARIABLE if file is None else str(file)
    if not token:
        empty = file is not None or TOKEN_VARIABLE in environ
        raise TokenError(f"{f'the access token in {where} is empty' if empty else 'no access token'}: {WAYS}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in token):
        raise TokenError(f"the access token in {where} holds control characters or bytes that are not UTF-8")
    if len(token.encode()) > LONGEST_TOKEN_BYTES:
        raise TokenError(f"the access token in {where} is longer than {LONGEST_TOKEN_BYTES} bytes")
    return token


def exposure(file: Path) -> str | None:
    """A warning when others than the owner may read `file`, else None."""
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        return f"{file} may be read by other users (mode {mode:o}): run chmod 600 {file}"
    return None


def _first_line(file: Path) -> str:
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            return lines.readline(LONGEST_TOKEN_BYTES + 2)
    except OSError as error:
        raise TokenError(f"the token file {file} cannot be read: {error.strerror}; {WAYS}") from None


def parse_until(text: str, now_s: float, zone: tzinfo | None = None) -> Until:
    """What `text` names. A time of day that has passed today means tomorrow's, by the zone's clock on that day.

    now_s: unix seconds. zone: of times without one; None: this machine's. Raises ValueError when `text` is none of
    FORMS or names a moment that has passed.
    """
    text = text.strip()
    try:
        found = _duration(text, now_s, zone) or _time_of_day(text, now_s, zone) or _date(text, zone)
    except (ValueError, OverflowError, OSError):  # beyond the calendar
        found = None
    if found is None or not 0 <= found.at_s < CALENDAR_END_S:
        raise ValueError(f"--until '{text}' is not a time: expected {FORMS}")
    if found.at_s <= now_s:
        raise ValueError(f"--until '{text}' has passed already")
    return found


def _duration(text: str, now_s: float, zone: tzinfo | None) -> Until | None:
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        return None
    for_s = timedelta(**{unit: int(number) for unit, number in found.groupdict("0").items()}).total_seconds()
    return Until(now_s + for_s, for_s, zone)


def _time_of_day(text: str, now_s: float, zone: tzinfo | None) -> Until | None:
    found = _CLOCK.fullmatch(text)
    if found is None or not (int(found[1]) < 24 and int(found[2]) < 60):
        return None
    today = datetime.fromtimestamp(now_s, UTC).astimezone(zone).replace(tzinfo=None)
    shown = today.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
    # When the clock is set back an hour comes twice; when it is set forward one is left out, and the next one counts.
    moments = [moment_s for day in (0, 1) for moment_s in _moments_s(shown + timedelta(days=day), zone)]
    return next((Until(moment_s, zone=zone) for moment_s in moments if moment_s > now_s), None)


def _date(text: str, zone: tzinfo | None) -> Until | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return Until(moment.timestamp() if moment.tzinfo else _moment_s(moment, moment.fold, zone), zone=zone)


def _moments_s(shown: datetime, zone: tzinfo | None) -> list[float]:
    first, second = (_moment_s(shown, fold, zone) for fold in (0, 1))
    return [first, second] if first < second else [first]


def _moment_s(shown: datetime, fold: int, zone: tzinfo | None) -> float:
    """The unix time at which the zone's clock shows this; fold 1: for the second time."""
    return shown.replace(tzinfo=zone, fold=fold).timestamp()

"""What a daemon is asked to do, read from the command line and the environment before anything heavy is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from competitor.config import Config, as_overrides, load_config
from competitor.daemon.health import LOOPBACK
from competitor.daemon.token import exposure, read_token
from competitor.daemon.until import parse_until
from competitor.wire.address import Address, server_address


@dataclass(frozen=True)
class Order:
    """What a daemon is asked to do; `load_config` reads the settings, now and at every SIGHUP.

    checkpoint: a path, or "champion". games: finished matches to play, until: when to finish; None: no limit.
    http: host and port to answer on. ca_file: certificates to trust besides the system's. warning: to be shown.
    """

    address: Address
    token: str = field(repr=False)
    checkpoint: str
    records: Path
    load_config: Callable[[], Config]
    games: int | None = None
    until: datetime | None = None
    http: tuple[str, int] | None = None
    ca_file: Path | None = None
    warning: str | None = None


def read_order(
    environ: Mapping[str, str],
    now: datetime,
    *,
    checkpoint: str,
    server: str | None,
    token_file: Path | None,
    records: Path,
    connections: int | None,
    games: int | None,
    until: str | None,
    http: str | None,
    ca_file: Path | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> Order:
    """The order that the options of `cli.py compete` make. now: with a time zone.

    Raises AddressError, TokenError, and ValueError for a time or a port that is none.
    """
    overrides += as_overrides({"compete.connections": connections})
    address = server_address(server, environ)
    if ca_file is not None and address.scheme != "wss":
        raise ValueError(f"--ca-file is for wss:// servers, and {address} is none")
    return Order(
        address=address,
        token=read_token(token_file, environ),
        checkpoint=checkpoint,
        records=records,
        load_config=partial(load_config, config_path, overrides=overrides),
        games=games,
        until=None if until is None else _until(until, now),
        http=None if http is None else _host_and_port(http),
        ca_file=ca_file,
        warning=None if token_file is None else exposure(token_file),
    )


def _until(text: str, now: datetime) -> datetime:
    try:
        return parse_until(text, now)
    except ValueError as error:
        raise ValueError(f"--until {error}") from None


def _host_and_port(text: str) -> tuple[str, int]:
    """PORT on this machine's loopback, or HOST:PORT."""
    found = re.fullmatch(r"(?:(?P<host>[^:\s]+):)?(?P<port>[0-9]{1,5})", text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError(f"--http '{text}' is not a port: expected PORT or HOST:PORT, for example 9100")
    return found["host"] or LOOPBACK, int(found["port"])

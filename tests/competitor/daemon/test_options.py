"""From the options of `compete` and the environment to what is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from competitor.daemon.options import CompeteOptions, read_options
from competitor.errors import AddressError, ConfigError, TokenError

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
ENVIRON = {"COMPRL_SERVER_URL": "example.org", "COMPRL_ACCESS_TOKEN": "s3cret"}


def asked(environ: dict[str, str] = ENVIRON, **options: Any) -> CompeteOptions:
    nothing = dict.fromkeys(("server", "token_file", "connections", "games", "until", "http", "ca_file", "config_path"))
    return read_options(
        environ,
        NOW.timestamp(),
        **{"checkpoint": "champion", "records": Path("records"), "overrides": (), **nothing, **options},
    )


def test_the_environment_alone_is_enough() -> None:
    one = asked()
    assert (str(one.address), one.token, one.checkpoint) == ("comprl://example.org:65335", "s3cret", "champion")
    assert one.games is one.until is one.http is one.ca_file is one.warning is None
    assert one.load_config().compete.connections == 1


def test_options_win() -> None:
    one = asked(server="ws://b.org", connections=4, games=3, until="2h", http="9100", overrides=("run.seed=5",))
    assert (str(one.address), one.games, one.http) == ("ws://b.org:80/play", 3, ("127.0.0.1", 9100))
    assert one.until is not None and one.until.for_s == timedelta(hours=2).total_seconds()
    assert (one.load_config().compete.connections, one.load_config().run.seed) == (4, 5)


def test_the_token_is_not_shown() -> None:
    assert "s3cret" not in repr(asked())


def test_settings_are_read_anew_each_time(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("[compete]\ndeadline_s = 3.0\n")
    one = asked(config_path=mine)
    assert one.load_config().compete.deadline_s == 3.0
    mine.write_text("[compete]\ndeadline_s = 4.0\n")
    assert one.load_config().compete.deadline_s == 4.0


def test_an_open_token_file_is_warned_about(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc\n")
    file.chmod(0o644)
    one = asked(token_file=file)
    assert one.token == "abc"
    assert one.warning is not None
    assert "chmod 600" in one.warning


@pytest.mark.parametrize(
    ("http", "expected"),
    [("0", ("127.0.0.1", 0)), ("lab:80", ("lab", 80)), ("[::1]:80", ("::1", 80))],
)
def test_http_takes_a_port_with_or_without_a_host(http: str, expected: tuple[str, int]) -> None:
    assert asked(http=http).http == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"http": "65536"}, "--http '65536' is not a port: expected PORT or HOST:PORT"),
        ({"http": "[::x]:80"}, "--http '[::x]:80' is not a port"),
        ({"http": "::1:80"}, "--http '::1:80' is not a port"),
        ({"http": "99999999999999999999"}, "is not a port"),
        ({"http": "here"}, "--http 'here' is not a port"),
        ({"until": "soon"}, "--until 'soon' is not a time"),
        ({"until": "2020-01-01"}, "--until '2020-01-01' has passed already"),
        ({"ca_file": Path("ca.pem")}, "--ca-file is for wss:// servers, and comprl://example.org:65335 is none"),
    ],
)
def test_wrong_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="--") as caught:
        asked(**options)
    assert words in str(caught.value)


def test_what_is_missing_has_an_error_of_its_own() -> None:
    with pytest.raises(AddressError):
        asked({"COMPRL_ACCESS_TOKEN": "abc"})
    with pytest.raises(TokenError):
        asked({"COMPRL_SERVER_URL": "example.org"})


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("compete.deadline_s=10", "expected a number above 0.0 and below 10.0"),
        ("compete.retry_first_s=90", "retry_first_s was a setting until version 0.3 and is fixed at 1.0 now"),
        ("compete.connections=0", "expected an integer of at least 1"),
    ],
)
def test_wrong_settings_of_compete(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked(overrides=(override,)).load_config()
    assert words in str(caught.value)

"""From the options of `compete` and the environment to what is asked for: address, token, times."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from competitor.daemon.options import CompeteOptions, parse_until, read_options, with_search
from competitor.errors import AddressError, ConfigError, TokenError

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
ENVIRON = {"COMPRL_SERVER_URL": "example.org", "COMPRL_ACCESS_TOKEN": "s3cret"}


def asked(environ: dict[str, str] = ENVIRON, **options: Any) -> CompeteOptions:
    nothing = dict.fromkeys(("server", "token_file", "games", "until", "http", "ca_file", "config_path"))
    return read_options(
        environ,
        NOW.timestamp(),
        **{
            "checkpoint": "champion",
            "records": Path("records"),
            "overrides": (),
            "connections": 1,
            **nothing,
            **options,
        },
    )


def test_the_environment_alone_is_enough() -> None:
    one = asked()
    assert (str(one.address), one.token, one.checkpoint) == ("comprl://example.org:65335", "s3cret", "champion")
    assert one.games is one.until is one.http is one.ca_file is one.warning is None
    assert one.connections == 1


def test_options_win() -> None:
    one = asked(server="ws://b.org", connections=4, games=3, until="2h", http="9100", overrides=("run.seed=5",))
    assert (str(one.address), one.games, one.http) == ("ws://b.org:80/play", 3, ("127.0.0.1", 9100))
    assert one.until is not None and one.until.for_s == timedelta(hours=2).total_seconds()
    assert (one.connections, one.load_config().run.seed) == (4, 5)


@pytest.mark.parametrize(
    ("search", "options", "plays"),
    [
        (None, {}, "search:champion"),
        (None, {"connections": 16}, "search:champion"),
        (None, {"connections": 17}, "champion"),
        (True, {"connections": 17}, "search:champion"),
        (False, {}, "champion"),
        (None, {"overrides": ("compete.deterministic=false",)}, "champion"),
        (None, {"checkpoint": "strong"}, "strong"),
        (None, {"checkpoint": "sparring:striker"}, "sparring:striker"),
        (True, {"checkpoint": "search:champion"}, "search:champion"),
    ],
)
def test_checkpoints_search_unless_they_play_too_much_at_once(
    search: bool | None, options: dict[str, Any], plays: str
) -> None:
    assert with_search(asked(**options), search).checkpoint == plays


def test_the_token_is_not_shown() -> None:
    assert "s3cret" not in repr(asked())


def test_settings_are_read_anew_each_time(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("[compete]\ndeadline_s = 3.0\n")
    one = asked(config_path=mine)
    assert one.load_config().compete.deadline_s == 3.0
    mine.write_text("[compete]\ndeadline_s = 4.0\n")
    assert one.load_config().compete.deadline_s == 4.0


@pytest.mark.parametrize(
    ("http", "expected"), [("0", ("127.0.0.1", 0)), ("lab:80", ("lab", 80)), ("[::1]:80", ("::1", 80))]
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


def test_a_server_is_needed() -> None:
    with pytest.raises(AddressError):
        asked({"COMPRL_ACCESS_TOKEN": "abc"})


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("compete.deadline_s=10", "expected a number above 0.0 and below 10.0"),
        ("compete.retry_first_s=90", "retry_first_s was a setting until version 0.3 and is fixed at 1.0 now"),
        ("compete.connections=4", "is fixed at 1 now: give --connections to `compete`"),
    ],
)
def test_wrong_settings_of_compete(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked(overrides=(override,)).load_config()
    assert words in str(caught.value)


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def token_in(environ: dict[str, str], file: Path | None = None) -> str:
    return asked({"COMPRL_SERVER_URL": "example.org", **environ}, token_file=file).token


@pytest.mark.parametrize("token", [" abc-123\n", "x" * 65535])
def test_a_token_from_the_environment(token: str) -> None:
    assert token_in({"COMPRL_ACCESS_TOKEN": token}) == token.strip()


@pytest.mark.parametrize("data", [b"abc-123", b"  abc-123 \r\nnext line\n", b"\xef\xbb\xbfabc-123\n"])
def test_a_token_from_the_first_line_of_a_file_which_wins(data: bytes, tmp_path: Path) -> None:
    assert token_in({"COMPRL_ACCESS_TOKEN": "other"}, write(tmp_path / "token", data)) == "abc-123"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "no access token: set COMPRL_ACCESS_TOKEN, or write"),
        ({"COMPRL_ACCESS_TOKEN": ""}, "the access token in COMPRL_ACCESS_TOKEN is empty: set"),
        ({"COMPRL_ACCESS_TOKEN": " \n"}, "is empty"),
        ({"COMPRL_ACCESS_TOKEN": "a\x00b"}, "control characters"),
        ({"COMPRL_ACCESS_TOKEN": "a\nb"}, "control characters"),
        ({"COMPRL_ACCESS_TOKEN": "a\udcffb"}, "not UTF-8"),
        ({"COMPRL_ACCESS_TOKEN": "x" * 65536}, "longer than 65535 bytes"),
        ({"COMPRL_ACCESS_TOKEN": "é" * 40000}, "longer than 65535 bytes"),
    ],
)
def test_tokens_that_are_missing_or_impossible(environ: dict[str, str], words: str) -> None:
    with pytest.raises(TokenError) as caught:
        token_in(environ)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\nabc\n", b"abc\xff\n", b"x" * 70000])
def test_files_without_a_token(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="token"):
        token_in({}, write(tmp_path / "token", data))


def test_a_missing_file_is_answered_with_both_ways(tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="none cannot be read: No such file .* COMPRL_ACCESS_TOKEN.*--token-file"):
        token_in({}, tmp_path / "none")


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_file_that_others_may_read_is_warned_about(mode: int, warns: bool, tmp_path: Path) -> None:
    warning = asked(token_file=write(tmp_path / "token", b"abc", mode)).warning
    assert (warning is not None) == warns
    assert warning is None or f"(mode {mode:o}): run chmod 600" in warning


ZONE = timezone(timedelta(hours=1))
AFTERNOON = datetime(2026, 11, 23, 14, 30, 20, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", AFTERNOON + timedelta(minutes=90)),
        ("2h", AFTERNOON + timedelta(hours=2)),
        ("1h30m", AFTERNOON + timedelta(minutes=90)),
        ("1d", AFTERNOON + timedelta(days=1)),
        ("45s", AFTERNOON + timedelta(seconds=45)),
        ("18:00", AFTERNOON.replace(hour=18, minute=0, second=0)),
        ("14:31", AFTERNOON.replace(minute=31, second=0)),
        ("14:30", AFTERNOON.replace(day=24, second=0)),
        ("9:05", AFTERNOON.replace(day=24, hour=9, minute=5, second=0)),
        ("2026-11-24T08:00", datetime(2026, 11, 24, 8, tzinfo=ZONE)),
        (" 2026-11-24 08:00:30 ", datetime(2026, 11, 24, 8, 0, 30, tzinfo=ZONE)),
        ("2026-11-24T08:00Z", datetime(2026, 11, 24, 8, tzinfo=UTC)),
    ],
)
def test_forms(text: str, expected: datetime) -> None:
    assert parse_until(text, AFTERNOON.timestamp(), ZONE).at_s == expected.timestamp()


@pytest.mark.parametrize(
    "text", ["", "soon", "24:00", "12:60", "90", "h", "-5m", "5m2h", "1:2", "2026-13-01", "0m x", "0001-01-01"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time: expected HH:MM"):
        parse_until(text, AFTERNOON.timestamp(), ZONE)


@pytest.mark.parametrize("text", ["0m", "2026-11-23T14:30", "2020-01-01"])
def test_what_has_passed(text: str) -> None:
    with pytest.raises(ValueError, match="has passed already"):
        parse_until(text, AFTERNOON.timestamp(), ZONE)


@given(st.one_of(st.text(), st.from_regex(r"[0-9dhms:T-]{1,20}")))
def test_any_text_is_later_than_now_or_a_value_error(text: str) -> None:
    try:
        moment = parse_until(text, AFTERNOON.timestamp(), ZONE)
    except ValueError:
        return
    assert moment.at_s > AFTERNOON.timestamp()


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        ("2026-10-24T20:00+02:00", "18:00", "2026-10-25T18:00+01:00"),  # summer time ends in between
        ("2026-03-28T20:00+01:00", "18:00", "2026-03-29T18:00+02:00"),  # and begins
        ("2026-03-28T20:00+01:00", "2026-03-29T18:00", "2026-03-29T18:00+02:00"),
        ("2026-10-25T01:00+02:00", "02:30", "2026-10-25T02:30+02:00"),  # an hour that comes twice: the first time,
        ("2026-10-25T02:45+02:00", "02:30", "2026-10-25T02:30+01:00"),  # or the second if the first has passed
        ("2026-03-29T01:00+01:00", "02:30", "2026-03-29T03:30+02:00"),  # an hour that is left out
        ("2026-10-24T20:00+02:00", "12h", "2026-10-25T07:00+01:00"),  # a duration is what a stopwatch shows
    ],
)
def test_a_time_of_day_is_that_of_the_zone_on_that_day(now: str, text: str, expected: str) -> None:
    moment = parse_until(text, datetime.fromisoformat(now).timestamp(), BERLIN)
    assert moment.at_s == datetime.fromisoformat(expected).timestamp()


def test_a_duration_does_not_care_about_the_wall_clock_and_a_time_of_day_does() -> None:
    wall, steady = [1e9], [50.0]
    duration, moment = (parse_until(text, 1e9, UTC) for text in ("90m", "04:00"))
    is_over = duration.watch(lambda: wall[0], lambda: steady[0])
    has_come = moment.watch(lambda: wall[0], lambda: steady[0])
    wall[0] += 1e6
    assert not is_over() and has_come()
    wall[0], steady[0] = 0.0, 50.0 + 5400.0
    assert is_over() and not has_come()

"""The token comes from the environment or a file; what cannot be one is told without showing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from competitor.daemon.options import exposure, read_token
from competitor.errors import TokenError


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_from_the_environment() -> None:
    assert read_token(None, {"COMPRL_ACCESS_TOKEN": " abc-123\n"}) == "abc-123"


@pytest.mark.parametrize("data", [b"abc-123", b"  abc-123 \r\nnext line\n", b"\xef\xbb\xbfabc-123\n"])
def test_from_the_first_line_of_a_file_which_wins(data: bytes, tmp_path: Path) -> None:
    file = write(tmp_path / "token", data)
    assert read_token(file, {"COMPRL_ACCESS_TOKEN": "other"}) == "abc-123"


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
def test_missing_or_impossible(environ: dict[str, str], words: str) -> None:
    with pytest.raises(TokenError) as caught:
        read_token(None, environ)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\nabc\n", b"abc\xff\n", b"x" * 70000])
def test_files_without_a_token(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="token"):
        read_token(write(tmp_path / "token", data), {})


def test_a_missing_file_is_told_with_both_ways(tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="none cannot be read: No such file .* COMPRL_ACCESS_TOKEN.*--token-file"):
        read_token(tmp_path / "none", {})


def test_the_longest_token_is_taken() -> None:
    assert len(read_token(None, {"COMPRL_ACCESS_TOKEN": "x" * 65535})) == 65535


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_file_that_others_may_read_is_warned_about(mode: int, warns: bool, tmp_path: Path) -> None:
    warning = exposure(write(tmp_path / "token", b"abc", mode))
    assert (warning is not None) == warns
    assert warning is None or f"(mode {mode:o}): run chmod 600" in warning

"""Compiled libraries are cached whole, verified before they are loaded, and built anew when damaged."""

import logging
from pathlib import Path

import pytest

from dreamer.speed import native
from dreamer.speed.fused import CHAINS
from dreamer.speed.native import TARGET_VARIABLE, Code, load
from dreamer.speed.play import PLAY, load_play

pytestmark = pytest.mark.skipif(load_play() is None, reason="no C compiler")
CODES = [CHAINS, PLAY]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native, "_hanging", set())
    return tmp_path / "hockey-dreamer"


def library(cache: Path) -> Path:
    (found,) = cache.glob("*.so")
    return found


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.source)
def test_a_library_is_built_once_and_leaves_nothing_else_behind(cache: Path, code: Code) -> None:
    assert load(code) is not None
    built = library(cache).stat().st_mtime_ns
    assert load(code) is not None
    assert library(cache).stat().st_mtime_ns == built
    assert sorted(path.suffix for path in cache.iterdir()) == [".sha256", ".so"]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "other", "no digest", "digest"])
def test_a_damaged_library_is_built_anew_and_said(cache: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is replaced, never written to: a process that has it loaded goes on with what it has."""
    assert load(PLAY) is not None
    path = library(cache)
    whole, digest = path.read_bytes(), path.with_suffix(".sha256")
    broken = {"cut": whole[:2000], "changed": whole[:-9] + b"x" + whole[-8:], "empty": b"", "other": b"#!/bin/sh\n"}
    if damage in broken:
        path.unlink()
        path.write_bytes(broken[damage])
    elif damage == "digest":
        digest.write_bytes(b"\xff\xfe")
    else:
        digest.unlink()
    with caplog.at_level(logging.WARNING):
        assert load(PLAY) is not None
    assert path.read_bytes() == whole and native._is_whole(path)
    assert caplog.messages == [f"the compiled play.c in {cache} was damaged: it is built anew"]


def test_the_target_makes_a_library_of_its_own(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(PLAY) is not None
    monkeypatch.setenv(TARGET_VARIABLE, "-O2")
    assert load(PLAY) is not None
    assert len(list(cache.glob("*.so"))) == 2


def test_a_compiler_that_fails_leaves_torch(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TARGET_VARIABLE, "-march=no-such-processor")
    assert load(PLAY) is None and not list(cache.glob("*"))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo mine: $$ is broken >&2; exit 1", "is broken"),
        ("echo garbage | tee made.so", "No such file"),
        ('for to; do [ "$last" = -o ] && echo garbage > $to; last=$to; done', "file too short"),
        ("exec sleep 60", "the compiler has not ended after 1 s"),
    ],
)
def test_a_broken_compiler_is_told_and_leaves_nothing(
    script: str,
    reason: str,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(native, "BUILD_TIMEOUT_S", 1.0)
    assert load(PLAY) is None and not list(cache.iterdir())
    (told,) = caplog.messages
    assert told.startswith("play.c cannot be compiled, without it all is slower: ") and reason in told


def test_a_compiler_that_hangs_is_waited_for_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(native, "BUILD_TIMEOUT_S", 0.0)
    assert [load(code) for code in CODES] == [None, None] and len(caplog.messages) == 1


def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    assert load(PLAY) is None and "Not a directory" in caplog.text


def test_a_library_that_miscalculates_is_not_used(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "wrong.c"
    source.write_text("float probe(float x) { return 0.999f * x / (1.0f + __builtin_expf(-x)); }")
    with caplog.at_level(logging.WARNING):
        assert load(Code(str(source), (), native.FLAGS, {})) is None
    assert "calculates wrongly on this machine" in caplog.text

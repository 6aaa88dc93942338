"""Every mistake that `compete` can meet at its start: a code of its own, one clear line, docs/compete.md names it."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

import cli
from competitor.arena.running import ArenaThread, running_arena
from competitor.config import CompeteConfig, load_config
from competitor.wire import comprl_commands
from dreamer.agent import Dreamer
from dreamer.checkpoint import save_checkpoint

CHECKPOINT, PLAYER, STORAGE, LOGIN, VERSION, ADDRESS, TOKEN, CERTIFICATE, PORT, UNREACHABLE = (
    *(4, 5, 7, 11, 12, 13, 14, 15, 16, 17),
)
TWICE = ["--set", "compete.attempts=2"]

Fails = Callable[..., str]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with a token in the environment and no server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CompeteConfig, "retry_first_s", 0.01)
    monkeypatch.setenv("COMPRL_ACCESS_TOKEN", "s3cret-t0ken")
    for name in ("COMPRL_SERVER_URL", "COMPRL_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def fails(capfd: pytest.CaptureFixture[str]) -> Fails:
    """Runs `compete`, which has to fail with a code; returns its one line. What was logged may precede it."""

    def run(code: int, *arguments: str) -> str:
        capfd.readouterr()
        assert cli.run(["compete", *arguments]) == code
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert "s3cret-t0ken" not in out + err
        *before, line = err.splitlines()
        assert line.startswith("error: ")
        assert all(re.match(r"\d\d:\d\d:\d\d warning: ", other) for other in before)
        return line

    return run


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[ArenaThread]:
    with running_arena(tmp_path / "arena") as arena:
        yield arena


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_missing_checkpoint(fails: Fails, elsewhere: Path) -> None:
    line = fails(CHECKPOINT, "none.safetensors", "--server", "127.0.0.1:1")
    assert "there is no checkpoint none.safetensors" in line
    assert list(elsewhere.iterdir()) == []


def test_checkpoint_for_another_observation(fails: Fails, elsewhere: Path) -> None:
    agent = Dreamer(load_config(preset="debug").dreamer, 16, 4)
    save_checkpoint(elsewhere / "other.safetensors", agent, {"preset": "debug"})
    line = fails(PLAYER, "other.safetensors", "--server", "127.0.0.1:1")
    assert "other.safetensors was made for 16 observations and 4 actions, the tournament has 18 and 4" in line
    assert not (elsewhere / "records").exists()


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("http://example.org", "begins with http://, which is no tournament protocol; expected comprl://HOST:PORT"),
        ("example.org:port", "port 'port' is not a whole number"),
        ("", "it has no host name"),
    ],
)
def test_bad_address(server: str, words: str, fails: Fails, elsewhere: Path) -> None:
    assert words in fails(ADDRESS, "--server", server)
    assert list(elsewhere.iterdir()) == []


def test_no_address(fails: Fails) -> None:
    assert "no server given: add --server with comprl://HOST:PORT" in fails(ADDRESS)


@pytest.mark.parametrize("token", [None, "", "  "])
def test_empty_token(token: str | None, fails: Fails, monkeypatch: pytest.MonkeyPatch, elsewhere: Path) -> None:
    if token is None:
        monkeypatch.delenv("COMPRL_ACCESS_TOKEN")
    else:
        monkeypatch.setenv("COMPRL_ACCESS_TOKEN", token)
    line = fails(TOKEN, "--server", "127.0.0.1:1")
    assert "set COMPRL_ACCESS_TOKEN" in line
    assert "--token-file FILE" in line
    assert list(elsewhere.iterdir()) == []


def test_missing_token_file(fails: Fails) -> None:
    assert "the token file none cannot be read" in fails(TOKEN, "--server", "127.0.0.1:1", "--token-file", "none")


@pytest.mark.parametrize("scheme", ["comprl", "ws"])
def test_wrong_token(scheme: str, fails: Fails, arena: ArenaThread) -> None:
    port = arena.comprl_port if scheme == "comprl" else arena.http_port
    assert "does not accept" in fails(LOGIN, "--server", f"{scheme}://127.0.0.1:{port}")


def test_wrong_version(fails: Fails, arena: ArenaThread, monkeypatch: pytest.MonkeyPatch) -> None:
    token = arena.add_user("me")
    monkeypatch.setenv("COMPRL_ACCESS_TOKEN", token)
    monkeypatch.setattr(comprl_commands, "PROTOCOL_VERSION", 99)
    line = fails(VERSION, "--server", f"127.0.0.1:{arena.comprl_port}")
    assert "version" in line
    assert token not in line


@pytest.mark.parametrize("scheme", ["comprl", "ws"])
def test_unreachable_host(scheme: str, fails: Fails, closed_port: int) -> None:
    line = fails(UNREACHABLE, "--server", f"{scheme}://127.0.0.1:{closed_port}", *TWICE)
    assert f"127.0.0.1:{closed_port}" in line
    assert "refused" in line
    assert "attempt" in line


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def serve_tls(listener: socket.socket, certificate: trustme.LeafCert) -> None:
    """Shake hands with whoever comes, until the listener is closed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        try:
            with context.wrap_socket(connection, server_side=True):
                pass
        except OSError:
            connection.close()


@pytest.fixture
def expired_server(authority: trustme.CA) -> Iterator[int]:
    """The port of a TLS server on localhost whose certificate has expired."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificate = authority.issue_cert("localhost", not_before=yesterday - timedelta(days=9), not_after=yesterday)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_tls, args=(listener, certificate))
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_expired_certificate(fails: Fails, authority: trustme.CA, expired_server: int) -> None:
    authority.cert_pem.write_to_path("ca.pem")
    line = fails(CERTIFICATE, "--server", f"wss://localhost:{expired_server}", "--ca-file", "ca.pem")
    assert "expired" in line


def test_missing_certificates(fails: Fails) -> None:
    line = fails(CERTIFICATE, "--server", "wss://localhost:1", "--ca-file", "none.pem")
    assert "none.pem" in line


def test_port_in_use(fails: Fails) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fails(PORT, "--server", "127.0.0.1:1", "--http", str(port))
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another --http PORT" in line


def test_read_only_records(fails: Fails, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: object, *arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "mkdir", read_only)
    line = fails(STORAGE, "--server", "127.0.0.1:1", "--records", "mine")
    assert "records cannot be written to mine: Read-only file system; choose another with --records DIR" in line


@pytest.mark.parametrize("taken", ["records/daemons", "records/logs", "records/matches.sqlite3"])
def test_something_in_the_way_of_the_records(taken: str, fails: Fails, elsewhere: Path) -> None:
    path = elsewhere / taken
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if path.suffix else path.write_text("")
    assert "records cannot be written to records: " in fails(STORAGE, "--server", "127.0.0.1:1", *TWICE)


@pytest.mark.parametrize("arguments", [["compete", "--help"], ["compete", "--server", "http://a"], ["status"]])
def test_help_and_early_mistakes_do_not_wait_for_torch(arguments: list[str]) -> None:
    code = f"import sys, cli; cli.run({arguments!r}); sys.exit('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent)}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--until", "soon"],
        ["--until", "2020-01-01"],
        ["--http", "many"],
        ["--games", "0"],
        ["--connections", "0"],
        ["--ca-file", "ca.pem"],
        ["--token", "s3cret"],
    ],
)
def test_wrong_command_lines(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["compete", "--server", "127.0.0.1:1", *arguments]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_dry_run_says_what_would_happen_and_leaves_nothing(
    elsewhere: Path, closed_port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "ada.txt").write_text("s3cret-t0ken")
    (elsewhere / "ada.txt").chmod(0o600)
    before = sorted(elsewhere.rglob("*"))
    server = f"127.0.0.1:{closed_port}"  # which would refuse a connection
    more = ["--token-file", "ada.txt", "--games", "3", "--http", str(closed_port), "--connections", "2"]
    assert cli.run(["compete", "--server", server, *more, "--dry-run"]) == 0
    out, err = capfd.readouterr()
    for words in (
        server,
        "account ada",
        "champion (",
        "2 at once, until 3 matches are finished",
        f":{closed_port}/hea",
    ):
        assert words in out
    assert "s3cret-t0ken" not in out + err
    assert sorted(elsewhere.rglob("*")) == before


def test_a_dry_run_finds_every_mistake(fails: Fails, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "file").write_text("")
    (elsewhere / "damaged").mkdir()
    (elsewhere / "damaged/matches.sqlite3").write_bytes(b"no database " * 99)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        mistakes: list[tuple[int, list[str], str]] = [
            (ADDRESS, ["--server", "http://h"], "http"),
            (3, ["--server", "h", "--set", "compete.connections=0"], "compete.connections"),
            (CHECKPOINT, ["none.safetensors", "--server", "h"], "no checkpoint none"),
            (PLAYER, ["nowhere:Nobody", "--server", "h"], "nowhere"),
            (STORAGE, ["--server", "h", "--records", "file/r"], "file/r"),
            (10, ["--server", "h", "--records", "damaged"], "matches.sqlite3"),
            (CERTIFICATE, ["--server", "wss://h", "--ca-file", "file"], "file"),
            (PORT, ["--server", "h", "--http", str(taken.getsockname()[1])], "cannot listen"),
            (TOKEN, ["--server", "h", "--token-file", "none"], "none"),
        ]
        for code, arguments, words in mistakes:
            assert words in fails(code, *arguments, "--dry-run")
    monkeypatch.setenv("COMPRL_ACCESS_TOKEN", "s3cret t0ken")
    fails(TOKEN, "--server", "ws://h", "--dry-run")

"""Every mistake that `compete` can meet at its start: a code of its own, one clear line, docs/compete.md names it."""

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
from competitor.config import CompeteConfig, load_config
from competitor.wire import comprl_commands
from dreamer.agent import Dreamer
from dreamer.checkpoint import save_checkpoint
from tests.competitor.arena.running import ArenaThread, running_arena

SETTINGS, CHECKPOINT, PLAYER, STORAGE, RECORDING = 3, 4, 5, 7, 10
LOGIN, VERSION, ADDRESS, TOKEN, CERTIFICATE, PORT, UNREACHABLE = range(11, 18)
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
def closed_port() -> Iterator[int]:
    """A port on which nobody listens: it stays taken, or another test's server might get it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


HERE = ["--server", "127.0.0.1:1"]
MISTAKES: dict[str, tuple[int, list[str], str]] = {
    "scheme": (ADDRESS, ["--server", "http://h"], "begins with http://, which is no tournament protocol"),
    "port": (ADDRESS, ["--server", "h:port"], "port 'port' is not a whole number"),
    "empty": (ADDRESS, ["--server", ""], "it has no host name"),
    "no server": (ADDRESS, [], "no server given: add --server with comprl://HOST:PORT"),
    "setting": (SETTINGS, [*HERE, "--set", "compete.attempts=-1"], "compete.attempts"),
    "checkpoint": (CHECKPOINT, ["none.safetensors", *HERE], "there is no checkpoint none.safetensors"),
    "another game": (PLAYER, ["other.safetensors", *HERE], "was made for 16 observations and 4 actions"),
    "class": (PLAYER, ["nowhere:Nobody", *HERE], "nowhere"),
    "token file": (TOKEN, [*HERE, "--token-file", "none"], "the token file none cannot be read"),
    "records": (STORAGE, [*HERE, "--records", "file/r"], "file/r"),
    "table": (RECORDING, [*HERE, "--records", "damaged"], "damaged"),
    "no certificates": (CERTIFICATE, ["--server", "wss://localhost:1", "--ca-file", "file"], "file"),
    "missing certificates": (CERTIFICATE, ["--server", "wss://localhost:1", "--ca-file", "none.pem"], "none.pem"),
    "health port": (PORT, [*HERE, "--http", "TAKEN"], "Address already in use; choose another --http PORT"),
}
WITH_A_LOG = {"class", "records", "table", "no certificates", "missing certificates", "health port"}
"""The daemon has begun to write when these are found, unless it is only tried."""


@pytest.mark.parametrize("dry", [False, True], ids=["real", "dry"])
@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_found_before_the_first_connection(what: str, dry: bool, fails: Fails, elsewhere: Path) -> None:
    code, arguments, words = MISTAKES[what]
    (elsewhere / "file").write_text("")
    (elsewhere / "damaged").mkdir()
    (elsewhere / "damaged/matches.sqlite3").write_bytes(b"no database " * 99)
    if "other.safetensors" in arguments:
        save_checkpoint(elsewhere / "other.safetensors", Dreamer(load_config(preset="debug").dreamer, 16, 4), {})
    before = sorted(elsewhere.rglob("*"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        asked = [port if argument == "TAKEN" else argument for argument in arguments]
        assert words in fails(code, *asked, *["--dry-run"] * dry)
    assert sorted(elsewhere.rglob("*")) == before or (what in WITH_A_LOG and not dry)


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


@pytest.mark.parametrize(
    "work",
    [
        *("cli.run(['compete', '--help'])", "cli.run(['compete', '--server', 'http://a'])", "cli.run(['status'])"),
        "import competitor.daemon.comprl, competitor.daemon.records, competitor.daemon.websocket",
        "import competitor.engine.engine, competitor.play.finished_match",
    ],
)
def test_help_early_mistakes_and_what_only_the_brain_needs_do_not_wait_for_torch(work: str) -> None:
    code = f"import sys, cli; {work}; sys.exit('torch' in sys.modules)"
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
    more = ["--token-file", "ada.txt", "--games", "3", "--http", "0", "--connections", "2"]
    assert cli.run(["compete", "--server", server, *more, "--dry-run"]) == 0
    out, err = capfd.readouterr()
    plays = "2 at once, until 3 matches are finished"
    assert all(words in out for words in (server, "account ada", "search:champion (", plays, "127.0.0.1:0/hea"))
    assert "s3cret-t0ken" not in out + err
    assert sorted(elsewhere.rglob("*")) == before


def test_a_token_that_a_websocket_cannot_send(fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRL_ACCESS_TOKEN", "s3cret t0ken")
    fails(TOKEN, "--server", "ws://127.0.0.1:1", "--dry-run")

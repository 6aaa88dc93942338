"""The command `arena` as a user meets it: processes, signals, ports, files, and clients written for the real server."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import cli
from competitor.arena.console import COMMAND, broken, exposure
from competitor.arena.store import Store
from tests.competitor.arena.raw_client import RawClient
from tests.end_to_end.conftest import Fails

ROOT = Path(cli.__file__).parent
TIMEOUT_S = 60.0
ARENA = ["arena", "--comprl-port", "0", "--http-port", "0", "--bots", "weak"]
CONFIG, CHECKPOINT, STORAGE, RECORDING, ADDRESS, PORT, BUSY = 3, 4, 7, 10, 13, 16, 19

# What the course's template amounts to: Twisted's AMP, commands as on the real server, one answer for each.
STOCK_CLIENT = """
import os, sys
from twisted.internet import reactor
from twisted.internet.protocol import ClientFactory
from twisted.protocols import amp

class Auth(amp.Command):
    response = [(b"token", amp.String()), (b"version", amp.Integer())]
class Ready(amp.Command):
    response = [(b"ready", amp.Boolean())]
class StartGame(amp.Command):
    arguments = [(b"game_id", amp.String())]
class Step(amp.Command):
    arguments = [(b"obv", amp.ListOf(amp.Float()))]
    response = [(b"action", amp.ListOf(amp.Float()))]
class EndGame(amp.Command):
    arguments = [(b"result", amp.Boolean()), (b"stats", amp.ListOf(amp.Float()))]
class Message(amp.Command):
    arguments = [(b"msg", amp.String())]
class Error(amp.Command):
    arguments = [(b"msg", amp.String())]

class Client(amp.AMP):
    asked = steps = 0

    @Auth.responder
    def auth(self):
        return {"token": os.environ["COMPRL_ACCESS_TOKEN"].encode(), "version": 1}

    @Ready.responder
    def ready(self):
        self.asked += 1
        return {"ready": self.asked == 1}

    @StartGame.responder
    def start_game(self, game_id):
        print("start", len(game_id))
        return {}

    @Step.responder
    def step(self, obv):
        self.steps += 1
        assert len(obv) == 18
        return {"action": [1.0, -0.25, 0.5, 1.0]}

    @EndGame.responder
    def end_game(self, result, stats):
        print("end", result, stats, self.steps)
        reactor.callLater(0, reactor.stop)
        return {}

    @Message.responder
    def message(self, msg):
        print("message", msg.decode())
        return {}

    @Error.responder
    def error(self, msg):
        print("error", msg.decode())
        return {}

    def connectionLost(self, reason):
        super().connectionLost(reason)
        if reactor.running:
            reactor.stop()

factory = ClientFactory()
factory.protocol = Client
reactor.connectTCP(os.environ["COMPRL_SERVER_URL"], int(os.environ["COMPRL_SERVER_PORT"]), factory)
reactor.run()
"""


@dataclass
class Running:
    """A process that runs `arena`, and what it said when it opened."""

    process: subprocess.Popen[str]
    said: str
    comprl_port: int
    http_port: int

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; returns exit code and the rest of what it says."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, rest


@contextmanager
def arena_process(folder: Path, *arguments: str) -> Iterator[Running]:
    """The command in `folder`; it is killed at the end if it still runs."""
    command = [sys.executable, str(ROOT / "cli.py"), *ARENA, *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "1000"}
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield _opened(process)
        finally:
            process.kill()


def _opened(process: subprocess.Popen[str]) -> Running:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("the arena is open"):
            break
    comprl, http = re.search(r"comprl://127\.0\.0\.1:(\d+)", said), re.search(r"http://127\.0\.0\.1:(\d+)/", said)
    assert comprl and http, said
    return Running(process, said, int(comprl[1]), int(http[1]))


def token_of(folder: Path, name: str) -> str:
    return (folder / "arena" / "tokens" / name).read_text().strip()


def results(folder: Path) -> list[tuple[str, str]]:
    """Match and ending of everything in the book, the newest first."""
    store = Store(folder / "arena" / "arena.sqlite")
    try:
        return [(str(entry.result.match_id), entry.result.ending) for entry in store.recent(1000)]
    finally:
        store.close()


def test_from_the_first_start_to_ctrl_c(tmp_path: Path) -> None:
    with arena_process(tmp_path, "--user", "ada") as arena:
        token = token_of(tmp_path, "ada")
        assert f"account ada: token {token}, shown only now" in arena.said
        assert "--token-file arena/tokens/ada" in arena.said
        assert "warning" not in arena.said
        (played,) = RawClient(arena.comprl_port, token).play(1)
        with urllib.request.urlopen(f"http://127.0.0.1:{arena.http_port}/", timeout=TIMEOUT_S) as answer:
            assert "ada" in answer.read().decode()
        code, rest = arena.stop()
    assert code == 0
    assert re.search(r"^\d\d:\d\d:\d\d .*ada.*ratings", rest, re.MULTILINE)
    assert rest.endswith("arena closed; accounts and results are kept in arena\n")
    assert "Traceback" not in arena.said + rest
    assert [ending for _, ending in results(tmp_path)] == ["played"]


def test_accounts_and_results_outlive_kill_minus_nine(tmp_path: Path) -> None:
    with arena_process(tmp_path, "--user", "ada") as arena:
        (first,) = RawClient(arena.comprl_port, token_of(tmp_path, "ada")).play(1)
        arena.stop(signal.SIGKILL)
    with arena_process(tmp_path, "--user", "Ada") as arena:
        assert "account ada is there already, its token in arena/tokens/ada" in arena.said
        RawClient(arena.comprl_port, token_of(tmp_path, "ada")).play(1)
        assert arena.stop(signal.SIGTERM)[0] == 0
    book = results(tmp_path)
    assert len(book) == 2
    assert book[1][0].replace("-", "") == first.match_id.hex()


def test_a_client_written_for_the_real_server_plays_unchanged(tmp_path: Path) -> None:
    with arena_process(tmp_path, "--user", "ada") as arena:
        env = {
            **os.environ,
            "COMPRL_SERVER_URL": "127.0.0.1",
            "COMPRL_SERVER_PORT": str(arena.comprl_port),
            "COMPRL_ACCESS_TOKEN": token_of(tmp_path, "ada"),
        }
        client = subprocess.run(
            [sys.executable, "-c", STOCK_CLIENT], env=env, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    assert client.stderr == ""
    *before, last = client.stdout.splitlines()
    assert before == ["message Authentication successful", "message Waiting in queue", "start 16"]
    assert re.fullmatch(r"end (True|False) \[\d\.0, \d\.0\] \d+", last)


def test_accounts_beside_a_running_arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key").write_text("of the class\n")
    with arena_process(tmp_path, "--registration-key-file", "key") as arena:
        assert re.search(r"^an account for NAME: .*cli\.py arena accounts add NAME$", arena.said, re.MULTILINE)
        assert cli.run(["arena", "accounts", "add", "eve"]) == 0
        assert len(RawClient(arena.comprl_port, token_of(tmp_path, "eve")).play(1)) == 1
        found = re.search(r"^players open accounts themselves: (\S+/register)$", arena.said, re.MULTILINE)
        assert found is not None
        with urllib.request.urlopen(found[1], b"name=fay&key=of+the+class", timeout=TIMEOUT_S) as answer:
            token = answer.read().decode().strip()
        assert len(RawClient(arena.comprl_port, token).play(1)) == 1 and token not in arena.stop()[1]


def test_a_second_arena_in_the_directory_is_refused_and_the_first_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails
) -> None:
    monkeypatch.chdir(tmp_path)
    with arena_process(tmp_path, "--user", "ada") as arena:
        assert "arena in arena is in use by another process" in fails(BUSY, *ARENA)
        assert len(RawClient(arena.comprl_port, token_of(tmp_path, "ada")).play(1)) == 1


def test_a_closed_terminal_closes_the_arena(tmp_path: Path) -> None:
    with arena_process(tmp_path) as arena:
        code, said = arena.stop(signal.SIGHUP)
    assert (code, said) == (0, "arena closed; accounts and results are kept in arena\n")


HANGING = """
import asyncio, pathlib, time
from competitor.arena.arena import Arena, ArenaOptions
from competitor.arena.console import keep_open
from competitor.config import load_config

class Hanging(Arena):
    async def stop(self):
        print("closing", flush=True)
        await asyncio.to_thread(time.sleep, 3600)  # as on a disk that does not answer

arena = Hanging(pathlib.Path("arena"), load_config().arena, ArenaOptions("127.0.0.1", 0, 0, ()))
keep_open(arena, lambda arena: print("open", flush=True))
"""


def test_a_second_signal_ends_an_arena_at_once_that_hangs_while_it_closes(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HANGING]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "open\n"
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline() == "closing\n"
            process.send_signal(signal.SIGHUP)  # a terminal that closes sends two: no reason to hurry
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=TIMEOUT_S)[0] == "arena closed\n" and process.returncode == 0
        finally:
            process.kill()


@pytest.mark.parametrize("width", [40, 60, 80])
def test_what_is_printed_fits_the_terminal(width: int) -> None:
    command = "python cli.py compete champion --server comprl://127.0.0.1:65335 --token-file arena/tokens/me"
    lines = broken(f"connect with{COMMAND}{command}", width).split("\n")
    assert max(map(len, lines)) <= width
    assert "".join(line.strip() + " " for line in lines[1:]).replace("\\ ", "").strip() == command
    match = "12:00:00 somebody 2 : 1 somebody.else; broken off, not rated: somebody.else invalid action"
    assert max(map(len, broken(match, width).split("\n"))) <= width


@pytest.mark.parametrize(
    ("host", "warned"),
    [
        *[("127.0.0.1", False), ("127.8.0.1", False), ("::1", False), ("localhost", False)],
        *[("0.0.0.0", True), ("::", True), ("192.168.1.5", True), ("arena.example.org", True)],
    ],
)
def test_only_others_than_loopback_are_warned_of(host: str, warned: bool) -> None:
    warning = exposure(host)
    assert (warning is not None) == warned
    assert warning is None or "not an internet service" in warning


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cannot listen on 192.0.2.1" in fails(ADDRESS, *ARENA, "--host", "192.0.2.1")
    assert "cannot listen on a..b" in fails(ADDRESS, *ARENA, "--host", "a..b")
    assert "cannot be an account's name" in fails(CONFIG, *ARENA, "--user", "a b")
    assert "weak is a house bot" in fails(CONFIG, *ARENA, "--user", "weak")
    assert "two house bots are called weak" in fails(CONFIG, *ARENA, "--bots", "weak,weak")
    assert "there is no checkpoint" in fails(CHECKPOINT, *ARENA, "--bots", "none.safetensors")
    assert "arena.rounds = 0" in fails(CONFIG, *ARENA, "--set", "arena.rounds=0")
    Path("file").write_text("")
    assert "file" in fails(STORAGE, *ARENA, "--directory", "file/arena")
    Path("foreign").mkdir()
    Path("foreign/arena.sqlite").write_text("no database at all" * 100)
    assert "is not an arena's database" in fails(RECORDING, *ARENA, "--directory", "foreign")


@pytest.mark.parametrize("option", ["--comprl-port", "--http-port"])
def test_a_port_in_use(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fails(PORT, *ARENA, option, str(port))
    assert f"port {port} on 127.0.0.1 is in use" in line
    assert option in line


def test_wrong_command_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["arena", "--http-port", "70000"]) == 2
    assert "Traceback" not in capsys.readouterr().err

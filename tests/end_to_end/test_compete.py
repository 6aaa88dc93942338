"""The command `compete` as a user meets it: processes, signals, exit codes, files, and no token anywhere."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import cli
from competitor.daemon.database import MatchRow, last_matches
from tests.competitor.arena.running import ArenaThread, running_arena

ROOT = Path(cli.__file__).parent
TIMEOUT_S = 60.0
SCHEMES = ["comprl", "ws"]
INTERRUPTED = 130


class Daemon:
    """A process that runs `compete`, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""

    def says(self, words: str) -> str:
        """Read on until a line holds `words`; returns the line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if words in line:
                return line
        raise AssertionError(f"it never said '{words}', but:\n{self.said}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ends(self) -> int:
        """Wait for the end; returns the exit code."""
        rest, _ = self.process.communicate(timeout=TIMEOUT_S)
        self.said += rest
        return self.process.returncode


class Place:
    """An arena, and a folder in which daemons run."""

    def __init__(self, arena: ArenaThread, folder: Path) -> None:
        self.arena, self.folder = arena, folder
        self.token = arena.add_user("me")

    def server(self, scheme: str) -> str:
        port = self.arena.comprl_port if scheme == "comprl" else self.arena.http_port
        return f"{scheme}://127.0.0.1:{port}"

    @contextmanager
    def daemon(self, scheme: str, *arguments: str, token: str | None = None, debug: bool = False) -> Iterator[Daemon]:
        """The command with a token in its environment; it is killed at the end if it still runs."""
        program = [sys.executable, str(ROOT / "cli.py"), *["--debug"] * debug]
        command = [*program, "compete", "--no-search", "--server", self.server(scheme), *arguments]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "COMPRL_ACCESS_TOKEN": token or self.token}
        with subprocess.Popen(
            command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield Daemon(process)
            finally:
                process.kill()

    def rows(self) -> list[MatchRow]:
        return [listed.row for listed in last_matches(self.folder / "records", 1000)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with running_arena(tmp_path / "arena", bots=("weak", "strong"), seed=5) as arena:
        yield Place(arena, tmp_path)


@pytest.mark.parametrize(("scheme", "number"), [("comprl", signal.SIGINT), ("ws", signal.SIGTERM)])
def test_one_signal_finishes_the_match_in_play_and_the_token_is_nowhere(scheme: str, number: int, place: Place) -> None:
    file = place.folder / "secret"
    file.touch(0o600)
    file.write_text(f"{place.token}\n")
    with place.daemon(scheme, "--token-file", str(file), "--http", "0", token="another one") as daemon:
        daemon.says("Ctrl-C finishes the matches in play")
        wait_for_match(place)
        command_line = Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes()
        daemon.signal(number)
        daemon.says("asked to stop: finishing 1 match in play, taking no new ones; Ctrl-C (or SIGTERM) again leaves")
        assert daemon.ends() == 0
    assert [row.ending for row in place.rows()] == ["played"] * len(place.rows()) != []
    assert f"done: {len(place.rows())} match" in daemon.said
    assert "Traceback" not in daemon.said
    assert b"--token-file" in command_line
    assert place.token.encode() not in command_line
    assert_nowhere(place.token, daemon, place)


def assert_nowhere(token: str, daemon: Daemon, place: Place) -> None:
    assert token not in daemon.said
    files = [path for path in (place.folder / "records").rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert [path for path in files if token.encode() in path.read_bytes()] == []


def wait_for_match(place: Place) -> None:
    """Wait until the arena has a match in play."""
    log = place.folder / "records" / "logs" / "compete-1.log"
    wait_until(lambda: "begins on" in log.read_text())


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(int(TIMEOUT_S / 0.02)):
        if condition():
            return
        signal.sigtimedwait([], 0.02)
    raise AssertionError("waited in vain")


def test_two_signals_leave_at_once(place: Place) -> None:
    with place.daemon("comprl") as daemon:
        daemon.says("Ctrl-C finishes")
        wait_for_match(place)
        daemon.signal(signal.SIGINT)
        daemon.says("asked to stop: finishing 1 match in play")
        daemon.signal(signal.SIGINT)
        assert daemon.ends() == INTERRUPTED
    assert place.rows()[-1].ending == "abandoned"
    assert "1 match in play is given up" in daemon.said
    assert "left at once: " in daemon.said
    assert "Traceback" not in daemon.said


def test_a_signal_before_the_first_connection_ends_it(place: Place) -> None:
    with place.daemon("comprl") as daemon:
        daemon.says("Ctrl-C finishes")
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() in (0, INTERRUPTED)  # 0: it was just about to connect
    assert "Traceback" not in daemon.said
    assert place.rows() == []


def test_daemons_side_by_side_their_status_and_what_kill_minus_nine_leaves(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    records = str(place.folder / "records")
    assert cli.run(["status", records]) == 1
    assert "no daemon keeps its records in" in capsys.readouterr().out
    with ExitStack() as stack:
        first, second = (stack.enter_context(place.daemon(scheme)) for scheme in SCHEMES)
        first.says(" steps (W")
        second.says("match against ")
        assert cli.run(["status", records, "--json"]) == 0
        listed = json.loads(capsys.readouterr().out)
        assert sorted(one["server"].split(":")[0] for one in listed) == SCHEMES
        assert {one["pid"] for one in listed} == {first.process.pid, second.process.pid}
        assert all(one["state"] in ("playing", "not connected") and one["alive"] for one in listed)
        logs = {path.name for path in (place.folder / "records/logs").iterdir()}
        assert logs == {"compete-1.log", "compete-2.log"}
        first.signal(signal.SIGKILL)
        assert first.ends() == -signal.SIGKILL
        assert cli.run(["status", records]) == 0
        assert capsys.readouterr().out.count("is dead: killed; log: records/logs/compete-") == 1
        second.signal(signal.SIGKILL)
        assert second.ends() == -signal.SIGKILL
    assert cli.run(["status", records]) == 1
    assert capsys.readouterr().out.count("is dead: killed; log: records/logs/compete-") == 2
    for daemon, wire in ((first, "comprl"), (second, "websocket")):
        told = re.findall(r" match .*: (?:won|drew|lost) (\d):(\d)", daemon.said)
        kept = [(str(row.own), str(row.other)) for row in place.rows() if row.wire == wire]
        assert told == kept[: len(told)] != []


def test_a_wrong_token_is_fatal_and_not_even_in_a_traceback(place: Place) -> None:
    token = "wr0ng-t0ken-of-a-stranger"
    with place.daemon("ws", token=token, debug=True) as daemon:
        assert daemon.ends() == 11
    assert "Traceback" in daemon.said
    assert "does not accept" in daemon.said.splitlines()[-1]
    assert_nowhere(token, daemon, place)


@pytest.mark.slow
def test_make_play(tmp_path: Path) -> None:
    command = ["make", "play", f"PLAY_DIR={tmp_path}", "PLAY_GAMES=2", f"BIN={Path(sys.executable).parent}"]
    done = subprocess.run(
        [*command, "--assume-old=install"], cwd=ROOT, capture_output=True, text=True, timeout=4 * TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    assert "done: 2 matches played" in done.stdout
    assert "2 matches: " in done.stdout
    assert not list(tmp_path.glob("records/daemons/*.json"))

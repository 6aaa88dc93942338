"""The whole daemon in this process, on both wires, against the real arena."""

import gc
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from competitor.config import Config, load_config
from competitor.daemon.compete import compete
from competitor.daemon.database import MatchRow, last_matches
from competitor.daemon.options import CompeteOptions, Until
from competitor.daemon.status import observe
from competitor.errors import LoginError
from competitor.players import checkpoint_path
from competitor.wire.address import parse_address
from dreamer.checkpoint import load_checkpoint, save_checkpoint
from tests.competitor.arena.running import ArenaThread, running_arena
from tests.competitor.daemon.shared import wait_until

TIMEOUT_S = 60.0
SCHEMES = ["comprl", "ws"]


@dataclass
class AtArena:
    """An arena with the account "me", and where a daemon that plays in it keeps its records."""

    arena: ArenaThread
    token: str
    records: Path
    errors: list[BaseException] = field(default_factory=list)

    def options(self, scheme: str, *overrides: str, **options: Any) -> CompeteOptions:
        port = self.arena.comprl_port if scheme == "comprl" else self.arena.http_port
        values = {"checkpoint": "champion", "records": self.records, "token": self.token, **options}
        settings = partial(load_config, overrides=overrides)
        return CompeteOptions(address=parse_address(f"{scheme}://127.0.0.1:{port}"), load_config=settings, **values)

    def rows(self) -> list[MatchRow]:
        """The matches in the records, oldest first."""
        return [listed.row for listed in last_matches(self.records, 1000)]

    def log(self) -> str:
        path = self.records / "logs" / "compete-1.log"
        return path.read_text() if path.exists() else ""

    def logged(self, words: str, times: int = 1) -> None:
        """Wait until `words` have been logged so often."""
        wait_until(lambda: self.log().count(words) >= times)

    @contextmanager
    def meanwhile(self, work: Callable[[], None]) -> Iterator[None]:
        """Run `work` in a thread beside the block; an error in it stops the daemon and fails the test."""

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.errors.append(error)
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=run, name="test")
        thread.start()
        yield
        thread.join(TIMEOUT_S)
        assert self.errors == []


def tell(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def at(tmp_path: Path) -> Iterator[AtArena]:
    with running_arena(tmp_path / "arena", bots=("weak",), seed=3) as arena:
        yield AtArena(arena, arena.add_user("me"), tmp_path / "records")


@pytest.mark.parametrize(("scheme", "wire", "games"), [("comprl", "comprl", 1), ("ws", "websocket", 2)])
def test_games_are_played_recorded_and_reported(
    scheme: str, wire: str, games: int, at: AtArena, capfd: pytest.CaptureFixture[str]
) -> None:
    interval_s = sys.getswitchinterval()
    assert compete(at.options(scheme, games=games))
    rows = at.rows()
    assert [(row.ending, row.wire) for row in rows] == [("played", wire)] * games
    assert all(json.loads(row.answers)["policy"] == row.steps for row in rows)
    out, err = capfd.readouterr()
    assert err == ""
    lines = [line[9:] for line in out.splitlines()]
    assert f"plays on {at.options(scheme).address}" in lines[0]
    assert sum(line.startswith("match ") for line in lines) == games
    assert lines[-1].startswith(f"done: {games} match")
    assert observe(at.records) == []
    assert (sys.getswitchinterval(), gc.get_freeze_count()) == (interval_s, 0)
    log = at.log()
    for words in ("# hockey-dreamer ", "torch 2", "twisted ", "champion, sha256 ", '"attempts":0'):
        assert words in log


@pytest.mark.parametrize("scheme", SCHEMES)
def test_until_finishes_after_the_match_in_play(scheme: str, at: AtArena, capfd: pytest.CaptureFixture[str]) -> None:
    late = threading.Event()

    def begin() -> None:
        at.logged("begins on")
        late.set()

    class Later(Until):
        def watch(self, *_: object) -> Callable[[], bool]:
            return late.is_set

    until = Later(time.time() + 1800.0)
    with at.meanwhile(begin):
        assert compete(at.options(scheme, until=until))
    assert {row.ending for row in at.rows()} == {"played"}
    assert f"it is {until}: " in capfd.readouterr().out  # a short match may have ended before the clock is read


def changed_copy(path: Path, seed: int) -> str:
    """Write the champion with slightly other weights to `path`; returns their digest."""
    agent, card = load_checkpoint(checkpoint_path("champion"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in agent.parameters():
            weights.mul_(1.0 + 1e-4 * torch.rand(weights.shape, generator=generator))
    save_checkpoint(path, agent, {key: card[key] for key in ("preset",) if key in card})
    return digest_of(path)


def digest_of(path: Path) -> str:
    return str(load_checkpoint(path)[1]["sha256"])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sighup_takes_new_weights_and_settings_for_new_matches_only(scheme: str, at: AtArena, tmp_path: Path) -> None:
    path, mine = tmp_path / "checkpoints" / "latest.safetensors", tmp_path / "mine.toml"
    digests = [changed_copy(path, 1)]
    mine.write_text("")

    def change() -> None:
        at.logged("begins on")
        digests.append(changed_copy(path, 2))
        mine.write_text("[compete]\ndeadline_s = 3.5\nattempts = 7\n")
        tell(signal.SIGHUP)
        at.logged("reloaded for new matches")
        at.logged('"deadline_s":3.5')
        at.logged("changes of attempts wait for the next start")
        at.logged("begins on", at.log().count("begins on") + 1)
        tell(signal.SIGTERM)

    asked = replace(at.options(scheme, checkpoint=str(path)), load_config=partial(load_config, mine))
    with at.meanwhile(change):
        assert compete(asked)
    rows = at.rows()
    played_with = [row.digest for row in rows]
    assert digests[0] != digests[1]
    assert (played_with[0], played_with[-1]) == tuple(digests)
    assert played_with == sorted(played_with, key=digests.index)
    assert {row.ending for row in rows} == {"played"}
    assert all(json.loads(row.answers)["policy"] == row.steps for row in rows)


def test_sighup_before_there_is_anything_to_reload_does_no_harm(at: AtArena) -> None:
    def settings() -> Config:
        tell(signal.SIGHUP)
        return load_config()

    before = signal.getsignal(signal.SIGHUP)
    assert compete(replace(at.options("ws", games=1), load_config=settings))
    assert signal.getsignal(signal.SIGHUP) is before


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def without_numbers(path: Path) -> None:
    """Make it a whole checkpoint that cannot play."""
    agent, _ = load_checkpoint(path)
    with torch.no_grad():
        for weights in agent.parameters():
            weights.fill_(torch.nan)
    save_checkpoint(path, agent, {})


@pytest.mark.parametrize(
    ("damage", "words"), [(cut_off, "is damaged"), (without_numbers, "some of its weights are not finite")]
)
def test_a_reload_that_fails_changes_nothing(
    damage: Callable[[Path], None], words: str, at: AtArena, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "latest.safetensors"
    digest = changed_copy(path, 1)

    def reload() -> None:
        at.logged("begins on")
        damage(path)
        tell(signal.SIGHUP)
        at.logged("not reloaded")
        at.logged("begins on", at.log().count("begins on") + 1)
        tell(signal.SIGTERM)

    with at.meanwhile(reload):
        assert compete(at.options("ws", checkpoint=str(path)))
    assert {row.digest for row in at.rows()} == {digest}
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "not reloaded" in line]
    assert words in line


@pytest.mark.parametrize("scheme", SCHEMES)
def test_health_and_status_while_a_match_is_in_play(scheme: str, at: AtArena) -> None:
    seen: dict[str, str] = {}

    def look() -> None:
        at.logged("begins on")
        (line,) = [line for line in at.log().splitlines() if "health and metrics" in line]
        url = line.split("http://")[1].split("/")[0]
        with urllib.request.urlopen(f"http://{url}/healthz", timeout=TIMEOUT_S) as answer:
            seen["healthz"] = answer.read().decode()
        wait_until(lambda: 'source="policy"' in metrics(url))
        seen["metrics"] = metrics(url)
        wait_until(lambda: observe(at.records)[0].status.numbers.playing == 1)
        seen["state"] = observe(at.records)[0].state
        tell(signal.SIGTERM)

    with at.meanwhile(look):
        assert compete(at.options(scheme, http=("127.0.0.1", 0)))
    assert '"healthy": true' in seen["healthz"]
    assert '"playing": 1' in seen["healthz"]
    assert "hockey_connections 1.0" in seen["metrics"]
    assert seen["state"] == "playing"


def metrics(url: str) -> str:
    with urllib.request.urlopen(f"http://{url}/metrics", timeout=TIMEOUT_S) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_wrong_token_ends_it_at_once_and_stands_in_the_status(scheme: str, at: AtArena) -> None:
    options = at.options(scheme, token="wr0ng-t0ken")
    if scheme == "ws":
        options = replace(options, address=replace(options.address, path="/play?key=wr0ng-t0ken"))
    with pytest.raises(LoginError) as caught:
        compete(options)
    assert "wr0ng-t0ken" not in str(caught.value)
    (daemon,) = observe(at.records)
    assert "wr0ng-t0ken" not in daemon.status.server and daemon.status.server.endswith("?key=***") == (scheme == "ws")
    assert (daemon.state, daemon.status.error) == ("dead", str(caught.value))
    assert "wr0ng-t0ken" not in at.log() + daemon.status.error
    assert "LoginError" in at.log()

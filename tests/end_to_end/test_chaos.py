"""200 matches over both wires, through a network that drops and delays, on an arena that is restarted."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

import cli
from competitor.arena.queries import PLAYED, Entry
from competitor.daemon.database import MatchRow, last_matches
from competitor.engine.session import Source
from competitor.play.finished_match import FinishedMatch
from competitor.play.match_file import read_match
from competitor.players import checkpoint_path
from dreamer.agent import Dreamer
from dreamer.checkpoint import load_checkpoint
from tests.competitor.arena.running import ArenaThread, running_arena
from tests.end_to_end.unreliable_network import UnreliableNetwork, unreliable_network

GAMES = 100  # on each wire
AT_ONCE = 12
ROUNDS = 4
RESTARTS_AT = (40, 90, 140)  # matches in the arena's book
DROP_AFTER = 4000.0  # reads of a connection; a match over comprl takes about 700
LIMIT_S = 400
QUICK = """
import cli
from competitor.config import CompeteConfig
CompeteConfig.retry_first_s, CompeteConfig.retry_most_s = 0.05, 0.5
cli.main()
"""
SCHEMES = ("comprl", "ws")


class Chaos:
    """What the test is about to look at: where everything lies."""

    def __init__(self, folder: Path, arena: ArenaThread, networks: dict[str, UnreliableNetwork]) -> None:
        self.folder, self.arena, self.networks = folder, arena, networks
        self.exit_codes: dict[str, int] = {}
        self.errors: dict[str, str] = {}
        self.restarts = 0

    def records(self, scheme: str) -> Path:
        return self.folder / f"records-{scheme}"

    def entries(self, scheme: str) -> list[Entry]:
        """The arena's matches of the daemon on this wire."""
        return [entry for entry in self.arena.store.recent(100_000) if f"daemon-{scheme}" in entry.result.users]

    def rows(self, scheme: str) -> list[MatchRow]:
        """The daemon's matches as its table has them."""
        return [listed.row for listed in last_matches(self.records(scheme), 100_000)]

    def kept(self, scheme: str) -> list[FinishedMatch]:
        """The files of the daemon's matches."""
        return [read_match(path)[0] for path in sorted(self.records(scheme).glob("*.npz"))]


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    """All matches played, the arena still open."""
    folder = tmp_path_factory.mktemp("chaos")
    with ExitStack() as stack:
        arena = stack.enter_context(running_arena(folder / "arena", seed=1, bots=("weak", "strong"), rounds=ROUNDS))
        tokens = {scheme: arena.add_user(f"daemon-{scheme}") for scheme in SCHEMES}
        ports = {"comprl": arena.comprl_port, "ws": arena.http_port}
        networks = {
            scheme: stack.enter_context(unreliable_network(port, seed, drop_after=DROP_AFTER))
            for seed, (scheme, port) in enumerate(ports.items())
        }
        story = Chaos(folder, arena, networks)
        daemons = {scheme: start_daemon(story, scheme, tokens[scheme]) for scheme in SCHEMES}
        restarter = Restarter(story)
        restarter.start()
        for scheme, daemon in daemons.items():
            _, story.errors[scheme] = daemon.communicate(timeout=LIMIT_S)
            story.exit_codes[scheme] = daemon.returncode
        restarter.finish()
        yield story


def start_daemon(story: Chaos, scheme: str, token: str) -> subprocess.Popen[str]:
    """The real command, reaching the arena through its network."""
    server = f"{scheme}://127.0.0.1:{story.networks[scheme].port}"
    return subprocess.Popen(
        [
            *(sys.executable, "-c", QUICK, "compete", "champion", "--no-search", "--server", server),
            *("--connections", str(AT_ONCE), "--games", str(GAMES), "--records", str(story.records(scheme))),
            *("--set", "compete.deadline_s=9.0"),
        ],
        env=os.environ
        | {"COMPRL_ACCESS_TOKEN": token, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(cli.__file__).parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


class Restarter(threading.Thread):
    """Stops the arena in the middle of play whenever its book has grown to certain lengths, and starts it again."""

    def __init__(self, story: Chaos) -> None:
        super().__init__(name="restarter")
        self._story, self._done = story, threading.Event()

    def run(self) -> None:
        for length in RESTARTS_AT:
            while self._story.arena.store.match_count() < length:
                if self._done.wait(0.05):
                    return
            self._story.arena.stop()
            self._story.arena.start()
            self._story.restarts += 1

    def finish(self) -> None:
        self._done.set()
        self.join()


def replayed(agent: Dreamer, matches: list[FinishedMatch]) -> list[np.ndarray]:
    """What the checkpoint does in each match (steps, 4), every match in a row of its own from start to end.

    Previous actions are those that were sent; rows whose match is over see zeros.
    """
    longest = max(len(match.obs) for match in matches)
    films = [np.zeros((longest, len(matches), size), np.float32) for size in (18, 4, 1)]
    for row, match in enumerate(matches):
        for film, values in zip(films, (match.obs, match.actions, match.is_first[:, None]), strict=True):
            film[: len(values), row] = values
    obs, sent, is_first = map(torch.from_numpy, films)
    state, actions = agent.initial_state(len(matches)), []
    for step in range(longest):
        state, action = agent.act(state, obs[step], is_first[step, :, 0] > 0, deterministic=True)
        state = {**state, "action": sent[step]}
        actions.append(action.numpy())
    return [np.stack(actions)[: len(match.obs), row] for row, match in enumerate(matches)]


def assert_same_play(match: FinishedMatch, replay: np.ndarray) -> None:
    by_policy = match.source == Source.POLICY
    assert by_policy.all() or len(by_policy) == 0, "the network was too slow, or refused an observation"
    np.testing.assert_allclose(replay, match.actions, atol=1e-6, err_msg=match.match_id)


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 60)
class TestChaos:
    """Everything is looked at in the same 200 matches."""

    def test_there_was_chaos(self, chaos: Chaos) -> None:
        assert chaos.restarts == len(RESTARTS_AT)
        assert all(network.drops > 0 for network in chaos.networks.values())
        endings = {entry.result.ending for scheme in SCHEMES for entry in chaos.entries(scheme)}
        assert endings > {PLAYED}

    def test_both_daemons_played_what_they_were_asked_to(self, chaos: Chaos) -> None:
        assert chaos.exit_codes == dict.fromkeys(SCHEMES, 0), chaos.errors
        for scheme in SCHEMES:
            assert sum(row.ending != "abandoned" for row in chaos.rows(scheme)) == GAMES

    def test_no_answer_was_invalid_or_late(self, chaos: Chaos) -> None:
        for scheme in SCHEMES:
            results = [entry.result for entry in chaos.entries(scheme)]
            blamed = [result.ending for result in results if result.left_by == f"daemon-{scheme}"]
            assert set(blamed) <= {"disconnected"}
            for match in chaos.kept(scheme):
                assert np.isfinite(match.actions).all() and np.abs(match.actions).max(initial=0.0) <= 1.0

    def test_all_finished_matches_are_in_the_records(self, chaos: Chaos) -> None:
        for scheme in SCHEMES:
            kept = {match.match_id: match for match in chaos.kept(scheme)}
            assert kept.keys() == {row.match_id for row in chaos.rows(scheme)}
            for entry in chaos.entries(scheme):
                result = entry.result
                if str(result.match_id) not in kept:
                    assert result.ending != PLAYED  # its start was dropped: the daemon has never heard of it
                    continue
                match = kept[str(result.match_id)]
                if result.ending == PLAYED and match.ending != "abandoned":  # its end may have been dropped
                    own = result.users.index(f"daemon-{scheme}")
                    assert (match.own, match.other) == (result.scores[own], result.scores[1 - own])
                    assert match.ending == "played" and match.is_first.sum() == ROUNDS

    def test_no_state_was_shared_between_matches(self, chaos: Chaos) -> None:
        agent, _ = load_checkpoint(checkpoint_path("champion"))
        matches = [match for scheme in SCHEMES for match in chaos.kept(scheme) if len(match.obs)]
        for match, replay in zip(matches, replayed(agent, matches), strict=True):
            assert_same_play(match, replay)
        for match in random.Random(0).sample(matches, 5):
            assert_same_play(match, replayed(agent, [match])[0])

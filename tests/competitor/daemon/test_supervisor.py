"""The main thread of a daemon, with a wire that plays as long as it is let; phases and budget."""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from competitor.daemon.supervisor import Lifecycle, Signals, Supervisor, signals_to

TIMEOUT_S = 20.0


class Wire:
    """Plays until it may end; `finish` ends it unless a match is in play."""

    def __init__(self, lifecycle: Lifecycle, *, plays: bool = False, error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self.thread = ""
        self.may_end = threading.Event()
        self.has_begun = threading.Event()
        self._plays, self._error = plays, error
        if plays:
            lifecycle.begun(was_reserved=False)

    def run(self) -> None:
        self.thread = threading.current_thread().name
        self.has_begun.set()
        if self._error is None:
            assert self.may_end.wait(TIMEOUT_S)
        else:
            raise self._error

    def finish(self) -> None:
        self.calls.append("finish")
        if not self._plays:
            self.may_end.set()

    def leave(self) -> None:
        self.calls.append("leave")
        self.may_end.set()


class Watched:
    """A supervisor of a wire, whose reports call `on_report` with their number."""

    def __init__(self, wire: Wire, lifecycle: Lifecycle, on_report: Callable[[int], None], **options: object) -> None:
        self.reports = self.reloads = 0
        self._on_report = on_report
        self.signals = Signals()
        settings = {"tick_s": 0.005, "signals": self.signals, **options}
        self.supervisor = Supervisor(
            wire,
            lifecycle,
            reload=self._reload,
            report=self._report,
            **settings,  # type: ignore[arg-type]
        )

    def _report(self) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.reports += 1
        assert self.reports < TIMEOUT_S / 0.005
        self._on_report(self.reports)

    def _reload(self) -> None:
        self.reloads += 1


def test_a_wire_that_does_not_let_go_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    lifecycle = Lifecycle()
    wire = Wire(lifecycle, plays=True)
    wire.leave = lambda: wire.calls.append("leave")  # type: ignore[method-assign]
    watched = Watched(wire, lifecycle, lambda number: watched.signals.stop(), leave_within_s=0.01)
    assert not watched.supervisor.run()
    assert "did not close within 0.01 s" in caplog.text
    wire.may_end.set()


def test_sighup_reloads_once_however_often_it_comes_and_play_goes_on() -> None:
    lifecycle = Lifecycle()
    wire = Wire(lifecycle)

    def on_report(number: int) -> None:
        if number in (1, 5):
            for _ in range(20):
                os.kill(os.getpid(), signal.SIGHUP)
        elif number == 10:
            wire.may_end.set()

    watched = Watched(wire, lifecycle, on_report)
    with signals_to(watched.signals):
        assert watched.supervisor.run()
    assert (watched.reloads, wire.calls) == (2, [])


def test_the_first_signal_stays_gentle_when_it_is_finishing_already() -> None:
    lifecycle = Lifecycle()
    wire = Wire(lifecycle, plays=True)

    def on_report(number: int) -> None:
        if number == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        elif number == 6:
            wire.may_end.set()

    watched = Watched(wire, lifecycle, on_report, time_is_up=lambda: "it is 14:00")
    with signals_to(watched.signals):
        assert watched.supervisor.run()
    assert wire.calls == ["finish", "finish"]


def test_phases_go_one_way() -> None:
    lifecycle = Lifecycle()
    lifecycle.finish()
    assert lifecycle.phase == "finishing" and not lifecycle.wants_match()
    lifecycle.leave()
    lifecycle.finish()
    assert lifecycle.phase == "leaving" and not lifecycle.wants_match()


def test_many_threads_share_one_budget() -> None:
    lifecycle = Lifecycle(games=100)

    def play_on(_: int) -> int:
        played = 0
        while lifecycle.wants_match():
            lifecycle.begun(was_reserved=True)
            lifecycle.ended()
            played += 1
        return played

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(play_on, range(8))) == 100
    assert lifecycle.finished == 100


EVENTS = ("ask", "begin", "begin unasked", "release", "end", "abandon")


@given(st.integers(0, 5), st.lists(st.sampled_from(EVENTS), max_size=60))
def test_never_a_match_is_wanted_beyond_the_budget(games: int, events: list[str]) -> None:
    lifecycle = Lifecycle(games)
    reserved = playing = finished = 0
    for event in events:
        if event == "ask":
            wanted = lifecycle.wants_match()
            assert wanted == (reserved + playing + finished < games)
            reserved += wanted
        elif event == "begin" and reserved:
            lifecycle.begun(was_reserved=True)
            reserved, playing = reserved - 1, playing + 1
        elif event == "begin unasked":
            lifecycle.begun(was_reserved=False)
            playing += 1
        elif event == "release" and reserved:
            lifecycle.released()
            reserved -= 1
        elif event == "end" and playing:
            lifecycle.ended()
            playing, finished = playing - 1, finished + 1
        elif event == "abandon" and playing:
            lifecycle.abandoned()
            playing -= 1
    assert (lifecycle.in_play, lifecycle.finished) == (playing, finished)
    assert lifecycle.is_spent == (finished >= games)

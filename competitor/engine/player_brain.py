"""Any player in the engine: one of its kind for each match, all of one module driven by one thread.

A class of the user's may keep what it remembers where it likes, need not be thread-safe, and may be slow: nobody
else waits for it but the matches it plays, whose steps are then answered at the deadline.
"""

import logging
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar
from weakref import WeakValueDictionary

import numpy as np

from competitor.engine.session import ACTION_SIZE, OBS_SIZE, Flags, Rows
from competitor.errors import PlayerError, message
from competitor.players import ForeignPlayer, Player, checked_actions

T = TypeVar("T")

log = logging.getLogger("competitor.daemon")


class PlayerBrain:
    """Players of one kind, a slot each; a `competitor.engine.engine.Brain`."""

    def __init__(self, make: Callable[[int], Player], *, name: str, digest: str, ready: int = 1) -> None:
        """make: returns a new player, given its number; is called in the thread that will play it, like all else.

        ready: so many players are made by `self_test`, the others when their match begins.
        """
        self.name, self.digest, self._ready = name, digest, ready
        self._make = make
        self._players: list[Player] = []
        self._free: list[int] = []
        self._failed: set[int] = set()
        self._thread = thread_of(name.partition(":")[0])

    def open(self) -> int:
        """Return a free slot; a player is made when there is none."""
        return self._thread.call(self._open)

    def close(self, slot: int) -> None:
        self._free.append(slot)

    def act(self, slots: Sequence[int], obs: Rows, is_first: Flags, previous: Rows) -> Rows:
        """Return raw actions (n, 4) for obs (n, 18) and is_first (n,); a row is NaN where the player failed.

        Raises PlayerError when no player could act.
        """
        return self._thread.call(lambda: self._act(slots, obs, is_first))

    def self_test(self) -> None:
        """Make the first players and let each act on an ordinary observation; raises PlayerError."""
        count = self._ready
        slots = [self.open() for _ in range(count)]
        try:
            obs = np.zeros((count, OBS_SIZE), np.float32)
            rows = self.act(slots, obs, np.ones(count, np.bool_), np.zeros((count, ACTION_SIZE), np.float32))
            if not np.isfinite(rows).all():
                raise PlayerError(f"player {self.name} cannot play: it does not give finite actions")
        finally:
            for slot in slots:
                self.close(slot)

    def _open(self) -> int:
        if self._free:
            slot = self._free.pop()
        else:
            slot = len(self._players)
            self._players.append(self._make(slot))
        self._players[slot].reset(1)
        return slot

    def _act(self, slots: Sequence[int], obs: Rows, is_first: Flags) -> Rows:
        rows = np.full((len(slots), ACTION_SIZE), np.nan, np.float32)
        errors: list[Exception] = []
        for row, slot in enumerate(slots):
            try:
                rows[row] = _raw_action(self._players[slot], obs[row : row + 1], is_first[row : row + 1])
            except Exception as error:
                errors.append(error)
                self._say(slot, error)
        if errors and len(errors) == len(slots):
            raise errors[0]
        return rows

    def _say(self, slot: int, error: Exception) -> None:
        """Log the first failure of each player; a class that always fails would fill the log."""
        if slot not in self._failed:
            self._failed.add(slot)
            log.warning("%s", message(error), exc_info=error)


def _raw_action(player: Player, obs: Rows, is_first: Flags) -> Rows:
    act = player.raw_actions if isinstance(player, ForeignPlayer) else player.act
    row: Rows = checked_actions(act(obs, is_first), 1)[0]
    return row


class OneThread:
    """A thread that runs what others call, one after the other; it ends with this object, or with the process."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=_work, args=(self._calls,), name=name, daemon=True).start()
        weakref.finalize(self, self._calls.put, None)

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread and return what it returns.

        Raises what it raises, and PlayerError for what would end the program, which Ctrl-C never is in a thread.
        """
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)
            except BaseException as error:
                done.set_exception(PlayerError(f"a player raised {type(error).__name__}, which ends no program here"))

        self._calls.put(run)
        return done.result()


def _work(calls: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (run := calls.get()) is not None:
        run()


_threads: WeakValueDictionary[str, OneThread] = WeakValueDictionary()
_making = threading.Lock()


def thread_of(module: str) -> OneThread:
    """Return the thread in which players of `module` play, whatever matches, bots and brains they belong to."""
    with _making:
        thread = _threads.get(module)
        if thread is None:
            thread = _threads[module] = OneThread(f"player {module}")
        return thread

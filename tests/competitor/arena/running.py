"""An arena in a thread beside a test."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from competitor.arena.arena import Arena, ArenaOptions
from competitor.arena.queries import Role
from competitor.arena.recorder import Announce
from competitor.arena.store import Store
from competitor.config import ArenaConfig, load_config


class ArenaThread:
    """An arena in a thread of its own, that can be stopped and started again in the same place.

    The ports that the first start found are kept, so clients find the arena again. Each start reads the store
    from the disk, as a new process would. more: others of Arena.
    """

    def __init__(
        self, directory: Path, config: ArenaConfig, options: ArenaOptions, *, announce: Announce, **more: Any
    ) -> None:
        self.directory, self.config, self.options = directory, config, options
        self._more = {"announce": announce, **more}
        self._arena: Arena | None = None
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None

    @property
    def comprl_port(self) -> int:
        """Where it speaks the course's protocol."""
        return self.options.comprl_port

    @property
    def http_port(self) -> int:
        """Where the web page and the WebSocket protocol are."""
        return self.options.http_port

    @property
    def store(self) -> Store:
        """The store of the arena that runs; safe to use from any thread."""
        assert self._arena is not None, "the arena is stopped"
        return self._arena.store

    def add_user(self, name: str, role: Role = "player") -> str:
        """Add an account and return its token."""
        return self.store.add_user(name, role)

    def start(self) -> None:
        """Open the arena and wait until it is open; raises what Arena.start raises."""
        assert self._thread is None, "the arena runs already"
        arena = Arena(self.directory, self.config, self.options, **self._more)
        opened: Future[None] = Future()
        thread = threading.Thread(target=lambda: asyncio.run(self._run(arena, opened)), name="arena")
        thread.start()
        try:
            opened.result()
        except BaseException:
            thread.join()
            raise
        self._arena, self._thread = arena, thread
        self.options = replace(self.options, comprl_port=arena.comprl_port, http_port=arena.http_port)

    def stop(self) -> None:
        """Close the arena and wait until its thread is gone; nothing if it is stopped already."""
        if self._thread is not None:
            self._stop()
            self._thread.join()
            self._arena = self._thread = None

    async def _run(self, arena: Arena, opened: Future[None]) -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stopping.set)
        try:
            await arena.start()
        except BaseException as error:
            opened.set_exception(error)
            return
        opened.set_result(None)
        try:
            await stopping.wait()
        finally:
            await arena.stop()


@contextmanager
def running_arena(
    directory: Path,
    *,
    bots: Sequence[str] = (),
    seed: int | None = None,
    tick_s: float = 0.02,
    announce: Announce = lambda line: None,
    registration_key: str | None = None,
    host: str = "127.0.0.1",
    comprl_port: int = 0,
    http_port: int = 0,
    **settings: Any,
) -> Iterator[ArenaThread]:
    """An arena for a test: any free ports, a quick matchmaker.

    settings: others of [arena], such as deadline_s=0.5.
    """
    config = ArenaConfig.model_validate({**load_config().arena.model_dump(), **settings})
    options = ArenaOptions(host, comprl_port, http_port, tuple(bots), registration_key=registration_key)
    arena = ArenaThread(directory, config, options, announce=announce, seed=seed, tick_s=tick_s)
    arena.start()
    try:
        yield arena
    finally:
        arena.stop()

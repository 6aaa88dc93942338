"""Runs an arena until a signal comes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable

from competitor.arena.arena import Arena
from competitor.system import ending_at_once, stopping_on_signals


def keep_open(arena: Arena, opened: Callable[[Arena], None]) -> None:
    """Run `arena` in this thread, the main one, until a signal comes; `opened` is called as soon as it is open.

    SIGINT, SIGTERM and SIGHUP close it, also while it starts. A second SIGINT or SIGTERM, while it closes, ends the
    process at once: a disk that hangs would keep it. Raises what Arena.start and Arena.stop raise.
    """
    asyncio.run(_keep_open(arena, opened))


async def _keep_open(arena: Arena, opened: Callable[[Arena], None]) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        loop.call_soon_threadsafe(stopping.set)

    with stopping_on_signals(stop):
        if not await _started(arena, stopping):
            return
        try:
            opened(arena)
            await stopping.wait()
        finally:
            with ending_at_once((signal.SIGINT, signal.SIGTERM), b"arena closed\n"):
                await arena.stop()


async def _started(arena: Arena, stopping: asyncio.Event) -> bool:
    """Start the arena; False if a signal came first, and then nothing runs."""
    starting = asyncio.create_task(arena.start())
    signalled = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, signalled}, return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if starting.done():
        await starting
        return True
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    return False

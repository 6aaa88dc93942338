"""A network that delays, cuts into pieces and drops: a proxy in front of a server, in a thread of its own."""

import asyncio
import contextlib
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

LARGEST_READ = 65_536
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class UnreliableNetwork:
    """Passes bytes between clients and 127.0.0.1:`port` badly: `port` of this object is where clients connect.

    drop_after: about how many reads a connection lives, drawn anew for each; both ends then see it break off.
    """

    def __init__(self, target_port: int, chance: random.Random, *, drop_after: float, delay_s: float = 0.002) -> None:
        self.port = self.drops = 0
        self._target_port, self._chance = target_port, chance
        self._drop_after, self._delay_s = drop_after, delay_s

    async def serve(self, opened: Callable[[], None], closing: Awaitable[object]) -> None:
        """Pass on what comes until `closing` is done."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            opened()
            await closing

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            ends.append(far_writer)
            await self._pass_both_ways((reader, writer), (far_reader, far_writer))
        except OSError:  # the server is being restarted
            pass
        finally:  # also when the network ends first: an open socket would outlive the loop
            for end in ends:
                end.transport.abort()

    async def _pass_both_ways(self, near: Streams, far: Streams) -> None:
        lives = [int(self._chance.expovariate(1 / self._drop_after))]
        ways = [self._pass_on(near[0], far[1], lives), self._pass_on(far[0], near[1], lives)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        for _, writer in (near, far):
            writer.close()
            await writer.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lives: list[int]) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(LARGEST_READ):
                lives[0] -= 1
                if lives[0] <= 0:
                    self.drops += 1
                    writer.transport.abort()
                    return
                await self._deliver(data, writer)

    async def _deliver(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Now and then late, now and then in two pieces."""
        cut = self._chance.randrange(1, len(data) + 1) if self._chance.random() < 0.1 else len(data)
        for piece in (data[:cut], data[cut:]):
            if self._chance.random() < 0.1:
                await asyncio.sleep(self._delay_s * self._chance.random())
            writer.write(piece)
        await writer.drain()


@contextmanager
def unreliable_network(target_port: int, seed: int, *, drop_after: float) -> Iterator[UnreliableNetwork]:
    """Such a network in a thread, until the end of the block."""
    network = UnreliableNetwork(target_port, random.Random(seed), drop_after=drop_after)
    opened = threading.Event()
    loop = asyncio.new_event_loop()
    closing = loop.create_future()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(network.serve(opened.set, closing))

    thread = threading.Thread(target=run, name="unreliable network")
    thread.start()
    assert opened.wait(10)
    try:
        yield network
    finally:
        loop.call_soon_threadsafe(closing.set_result, None)
        thread.join()

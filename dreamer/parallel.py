"""Large passes on more than one core: rows are split once, each part goes through a whole chain of operations.

torch's own threads meet at a barrier after every operation and spin there; beside another busy process that costs more
than it brings. Parts that run through many operations meet once. The split depends on the number of workers alone, so
results repeat on any machine with the same setting.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

FEWEST_ROWS = 384  # of a part; less work than that is done faster than it is handed over
Part = TypeVar("Part")

_workers = 1
_pool: ThreadPoolExecutor | None = None


def use_workers(count: int) -> None:
    """Split large passes into ``count`` parts from now on; 1 splits nothing."""
    global _workers, _pool
    if _pool is not None:
        _pool.shutdown()
    _workers, _pool = count, None
    if count > 1:
        _pool = ThreadPoolExecutor(count - 1, "part", initializer=torch.set_num_threads, initargs=(1,))


def parts(rows: int) -> list[slice]:
    """How ``rows`` are split: into equal, contiguous parts."""
    count = max(1, min(_workers, rows // FEWEST_ROWS))
    edges = [rows * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in zip(edges, edges[1:], strict=False)]


def over_rows(work: Callable[[slice], Part], rows: int) -> list[Part]:
    """What ``work`` returns for each part, in order; it runs without gradients, the first part in this thread."""
    first, *others = parts(rows)

    def quietly(part: slice) -> Part:
        with torch.no_grad():
            return work(part)

    if not others or _pool is None:
        return [quietly(first)]
    waiting = [_pool.submit(quietly, part) for part in others]
    return [quietly(first), *[future.result() for future in waiting]]

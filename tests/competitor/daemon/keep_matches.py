"""A process that keeps matches: python -m tests.competitor.daemon.keep_matches DIRECTORY FIRST COUNT.

Prints "ready", then the id of every match as soon as it is said to be safe.
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from pathlib import Path

from competitor.daemon.records import Records
from tests.competitor.play.made_matches import numbered_match

AT_ONCE = 3


def main(directory: Path, first: int, count: int) -> None:
    room = threading.Semaphore(AT_ONCE)

    def safe(match_id: str) -> None:
        print(match_id, flush=True)
        room.release()

    with Records(directory) as records:
        print("ready", flush=True)
        for number in range(first, first + count):
            room.acquire()
            match = numbered_match(number)
            records.keep(match, partial(safe, match.match_id))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

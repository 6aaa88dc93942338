"""Passes that are shared between threads."""

import threading

import pytest

from dreamer.speed import parallel
from dreamer.speed.parallel import over_rows, parts
from tests.dreamer.tiny import helper


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (799, 1), (800, 2), (1250, 3), (100_000, parallel.MOST_PARTS)])
def test_parts_cover_all_rows_once(rows: int, count: int) -> None:
    slices = parts(rows)
    assert len(slices) == count
    assert [row for part in slices for row in range(part.start, part.stop)] == list(range(rows))


def test_a_helper_takes_parts_and_the_results_are_in_order() -> None:
    both_at_work = threading.Barrier(2, timeout=30)

    def work(part: slice) -> tuple[int, str]:
        if part.start in (0, 400):  # the first two parts wait for each other: no thread can do both
            both_at_work.wait()
        return part.start, threading.current_thread().name

    with helper():
        done = over_rows(work, 1600)
    assert [start for start, _ in done] == [0, 400, 800, 1200]
    assert {name for _, name in done[:2]} == {threading.current_thread().name, "helper"}


def test_without_a_helper_the_thread_does_all_parts_itself() -> None:
    assert over_rows(lambda part: part.stop, 1600) == [400, 800, 1200, 1600]


def test_what_a_part_raises_reaches_the_thread_whose_pass_it_is_and_the_helper_goes_on() -> None:
    def fail(part: slice) -> int:
        raise ValueError("broken")

    with helper():
        for _ in range(20):
            with pytest.raises(ValueError, match="broken"):
                over_rows(fail, 3200)
        assert over_rows(lambda part: part.start, 800) == [0, 400]

"""Shared by all tests: one thread per process, and the small settings."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from competitor.config import Config, load_config
from dreamer import fast

torch.set_num_threads(1)
settings.register_profile("tests", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")  # the same examples every time, however slow a shared machine is

# A suite started in the background or by nohup inherits ignored signals, and so would every process that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

TESTS = Path(__file__).parent
NUMERIC = [TESTS / "dreamer", TESTS / "competitor" / "engine", TESTS / "competitor" / "evaluate"]
"""Where numbers are compared, which other instruction sets round otherwise: `make test` runs these once more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the numeric tests."""
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in NUMERIC):
            item.add_marker(pytest.mark.numeric)


@pytest.fixture(autouse=True)
def kernels_chosen_again() -> Iterator[None]:
    """What a test, or a training in it, calculates with ends with it."""
    yield
    fast.use("auto")


@pytest.fixture(scope="session")
def debug_config() -> Config:
    """The settings of the preset `debug`."""
    return load_config(preset="debug")

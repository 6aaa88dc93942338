"""Shared by all tests: one thread per process, and the small settings."""

from __future__ import annotations

import pytest
import torch

from competitor.config import Config, load_config

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def debug_config() -> Config:
    """The settings of the preset `debug`."""
    return load_config(preset="debug")

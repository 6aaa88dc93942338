"""How many threads torch calculates with."""

from __future__ import annotations

import torch


def use_threads(count: int) -> None:
    """Give torch `count` threads; 0 leaves the choice to torch."""
    if count:
        torch.set_num_threads(count)

"""What makes the mind fast and changes no result: only dreamer/fast.py knows it, and everything runs without it."""

from dreamer.speed.fused import (
    categorical_kls,
    filter_sequence,
    imagine,
    laprop_,
    load_chains,
    open_loop,
    run_perceptron,
)
from dreamer.speed.parallel import help_until, wake
from dreamer.speed.play import native_play

__all__ = [
    "categorical_kls",
    "filter_sequence",
    "has_half",
    "help_until",
    "imagine",
    "is_compiled",
    "laprop_",
    "native_play",
    "open_loop",
    "run_perceptron",
    "wake",
]


def is_compiled() -> bool:
    """Whether the compiled chains can be used on this machine."""
    return load_chains() is not None


def has_half() -> bool:
    """Whether products of numbers rounded to bfloat16 are faster on this processor, and can be used."""
    chains = load_chains()
    return chains is not None and chains.has_tiles

"""What makes the mind fast and changes no result: only dreamer/fast.py knows it, and everything runs without it."""

from dreamer.speed.fused import advance, categorical_kls, draw, imagine, laprop_, load_chains, run_perceptron
from dreamer.speed.parallel import help_until, wake
from dreamer.speed.play import native_play

__all__ = [
    "advance",
    "categorical_kls",
    "draw",
    "has_half",
    "help_until",
    "imagine",
    "is_compiled",
    "laprop_",
    "native_play",
    "run_perceptron",
    "wake",
]


def is_compiled() -> bool:
    """Whether the compiled chains can be used on this machine."""
    return load_chains() is not None


def has_half() -> bool:
    """Whether products of numbers rounded to bfloat16 are faster on this processor, and can be used."""
    chains = load_chains()
    return chains is not None and chains.half is not None

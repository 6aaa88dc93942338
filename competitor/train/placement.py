"""Where and how a training calculates: device, precision and kernels, chosen once when it starts.

The choice is kept in the run's `placement.json`, and `--resume` takes it from there: what was measured once is not
measured again, so the numbers of a run do not depend on how busy the machine was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Literal, cast

import torch
from pydantic import Field, TypeAdapter, ValidationError

from competitor.config import Config, RunConfig
from competitor.errors import ConfigError, ResumeError
from competitor.system import use_threads
from dreamer.config import Precision
from dreamer.files import atomic_write_text
from dreamer.speed import kernels

FILE_NAME = "placement.json"
# So many times as fast bfloat16 products must be. Beside the compiled kernels, which know float32 alone, more: products
# are half of an update there, and the plain modules take 1.3 times as long (docs/learning.md).
WORTHWHILE, WORTHWHILE_BESIDE_KERNELS = 1.3, 2.5
LONGEST_S = 0.5
REPEATS = 10
MOST_ROWS = 256  # of a product that is measured on a CPU, where bfloat16 may be 50 times as slow
AT_ONCE = {"cpu": 1, "cuda": 20}  # products timed together; a GPU starts one while the one before is under way

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Placement:
    """What was chosen, and why this precision.

    gain: how many times as fast bfloat16 products were as those of float32; None where that was not measured.
    """

    device: Device
    precision: Precision
    kernels: str  # those of older runs may have gone since
    why: str
    gain: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None

    @property
    def line(self) -> str:
        """The choice in one line for the user."""
        return f"{self.precision}: {self.why}; kernels: {self.kernels}; device: {self.device}"

    @property
    def numbers(self) -> dict[str, float]:
        """The choice as numbers for the record of the run; the kernels change no result and are left out."""
        chosen = {"cuda": float(self.device == "cuda"), "bfloat16": float(self.precision == "bfloat16")}
        return chosen if self.gain is None else chosen | {"bfloat16_gain": self.gain}

    @property
    def torch_device(self) -> torch.device:
        """The device as torch knows it."""
        return torch.device(self.device)

    def differs_from(self, other: Placement) -> bool:
        """Whether the numbers of a run would differ for good: by device or precision."""
        return (self.device, self.precision) != (other.device, other.precision)

    def write(self, run: Path) -> None:
        """Keep the choice in the run directory `run`; raises OSError."""
        atomic_write_text(run / FILE_NAME, json.dumps(asdict(self), indent=2) + "\n")


READER = TypeAdapter(Placement)
# What runs had before there was a choice.
FORMER = Placement("cpu", "float32", "native", "")


def read_placement(run: Path) -> Placement:
    """What was chosen for the run in the directory `run`. Raises ResumeError when the file is damaged."""
    file = run / FILE_NAME
    try:
        return READER.validate_json(file.read_bytes(), strict=True)
    except FileNotFoundError:
        return FORMER
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
        raise ResumeError(f"{file} cannot be read ({what}); without this file the CPU is taken") from error
    except OSError as error:
        raise ResumeError(f"{file} cannot be read ({error.strerror}); without this file the CPU is taken") from error


def choose_placement(config: Config, recorded: Placement | None = None) -> Placement:
    """Choose by [run] and, where it says "auto", by what is `recorded`, by what there is and by a measurement.

    The threads and kernels of [run] are in use from then on. Raises ConfigError when the settings ask for a CUDA
    device and there is none, ResumeError when the recorded choice does.
    """
    use_threads(config.run.threads)
    device = _device(config.run, recorded)
    precision, why, gain = _precision(config, device, recorded)
    plain = device == "cuda" or precision == "bfloat16"
    kind = kernels.use("plain" if plain else config.run.kernels)
    if recorded is not None and recorded.device != device:
        why += f"; begun on {recorded.device}, chance begins anew on {device}"
    return Placement(device, precision, kind, why, gain)


def _device(run: RunConfig, recorded: Placement | None) -> Device:
    is_there = torch.cuda.is_available()
    if run.device == "cuda" and not is_there:
        raise ConfigError(
            f'run.device = "cuda", but torch {torch.__version__} finds no CUDA device here: set it to "auto" or "cpu", '
            "or install a torch built for CUDA"
        )
    if run.device != "auto":
        return run.device
    if recorded is not None and recorded.device == "cuda" and not is_there:
        raise ResumeError(
            "this run was begun on a CUDA device, and torch finds none here: --set run.device=cpu continues it on the "
            "CPU, with other chance"
        )
    if recorded is not None:
        return recorded.device
    return "cuda" if is_there and not run.asks_for_cpu_kernels else "cpu"


def _precision(config: Config, device: Device, recorded: Placement | None) -> tuple[Precision, str, float | None]:
    """(precision, why, gain if it was measured, now or when the run began)."""
    run = config.run
    if run.precision != "auto":
        return run.precision, "as run.precision says", None
    if run.asks_for_cpu_kernels:
        return "float32", f"the {run.kernels} kernels know nothing else", None
    if recorded is not None and recorded.device == device:
        return recorded.precision, "as when the run began", recorded.gain
    gain = bfloat16_gain(*_product(config, device), device)
    beside_kernels = device == "cpu" and run.kernels == "auto"
    if gain >= (WORTHWHILE_BESIDE_KERNELS if beside_kernels else WORTHWHILE):
        return "bfloat16", f"its products are {gain:.1f} times as fast as float32's here", gain
    if gain < 1.0:
        return "float32", f"bfloat16 products take {1.0 / gain:.1f} times as long here", gain
    return "float32", f"bfloat16 products are only {gain:.1f} times as fast here", gain


def _product(config: Config, device: Device) -> tuple[int, int, int]:
    """(rows, inputs, outputs) of a product as an update is full of: all states of a batch through wide layers."""
    model, replay = config.model, config.replay
    rows = replay.batch_size * replay.sequence_length
    return rows if device == "cuda" else min(rows, MOST_ROWS), model.hidden + model.units, 3 * model.hidden


@cache
def bfloat16_gain(rows: int, inputs: int, outputs: int, device: Device) -> float:
    """How many times as fast as in float32 a product (rows, inputs) x (inputs, outputs) is in bfloat16 on `device`.

    The least times of a few products of each kind, in turns; under a second, and nothing is drawn from any generator.
    """
    pairs = [
        (torch.ones(rows, inputs, device=device, dtype=kind), torch.ones(inputs, outputs, device=device, dtype=kind))
        for kind in (torch.float32, torch.bfloat16)
    ]
    times: list[list[float]] = [[], []]
    begun = time.perf_counter()
    while len(times[1]) < 1 + REPEATS and (len(times[1]) < 2 or time.perf_counter() - begun < LONGEST_S):
        for (one, two), taken in zip(pairs, times, strict=True):
            taken.append(_seconds(partial(torch.mm, one, two), device))
    exact, rounded = (min(taken[1:]) for taken in times)
    return exact / rounded


def _seconds(work: Callable[[], object], device: Device) -> float:
    wait = cast(Callable[[], None], torch.cuda.synchronize) if device == "cuda" else _nothing
    wait()
    begun = time.perf_counter()
    for _ in range(AT_ONCE[device]):
        work()
    wait()
    return time.perf_counter() - begun


def _nothing() -> None:
    """The CPU has finished when it returns."""

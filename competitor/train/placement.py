"""Where and how a training calculates: device, precision and kernels, chosen once when it starts.

The choice is kept in the run's `placement.json`, and `--resume` takes it from there: what was measured once is not
measured again, so the numbers of a run do not depend on how busy the machine was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError

from competitor.config import Config, RunConfig
from competitor.errors import ConfigError, ResumeError
from competitor.system import use_threads
from competitor.train.update_timing import Clock, Ways, update_seconds
from dreamer import fast
from dreamer.config import Precision
from dreamer.files import atomic_write_text

FILE_NAME = "placement.json"
# So many times as fast an update in bfloat16 must be: it rounds to 8 bits, and below that chance would decide.
WORTHWHILE = 1.1

Device = Literal["cpu", "cuda"]
UpdateMs = dict[Precision, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Placement:
    """What was chosen, and why this precision.

    update_ms: milliseconds of an update in each precision; None where they were not measured, as in older runs.
    """

    device: Device
    precision: Precision
    kernels: str  # those of older runs may have gone since
    why: str
    update_ms: UpdateMs | None = None

    @property
    def line(self) -> str:
        """The choice in one line for the user."""
        return f"{self.precision}: {self.why}; kernels: {self.kernels}; device: {self.device}"

    @property
    def numbers(self) -> dict[str, float]:
        """The choice as numbers for the record of the run; the kernels change no result and are left out."""
        chosen = {"cuda": float(self.device == "cuda"), "bfloat16": float(self.precision == "bfloat16")}
        return chosen | {f"{precision}_update_ms": taken for precision, taken in (self.update_ms or {}).items()}

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


def say_nothing(_: str) -> None:
    """Nobody is there to read what is said."""


def choose_placement(
    config: Config, recorded: Placement | None = None, *, clock: Clock = time.perf_counter, say: Say = say_nothing
) -> Placement:
    """Choose by [run] and, where it says "auto", by what is `recorded`, by what there is and by timing updates.

    The threads and kernels of [run] are in use from then on. clock: seconds; say: is called with a line before updates
    are timed. Raises ConfigError when the settings ask for a CUDA device and there is none, ResumeError when the
    recorded choice does.
    """
    use_threads(config.run.threads)
    device = _device(config.run, recorded)
    precision, why, update_ms = _precision(config, device, recorded, clock, say)
    kind = _kernels(config.run, device, precision)
    if recorded is not None and recorded.device != device:
        why += f"; begun on {recorded.device}, chance begins anew on {device}"
    return Placement(device, precision, kind, why, update_ms)


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


def _precision(
    config: Config, device: Device, recorded: Placement | None, clock: Clock, say: Say
) -> tuple[Precision, str, UpdateMs | None]:
    """(precision, why, times if they were measured, now or when the run began)."""
    run = config.run
    if run.precision != "auto":
        return run.precision, "as run.precision says", None
    if run.asks_for_cpu_kernels:
        return "float32", f"the {run.kernels} kernels know nothing else", None
    if recorded is not None and recorded.device == device:
        return recorded.precision, "as when the run began", recorded.update_ms
    if not has_bfloat16(device):
        return "float32", "there is no bfloat16 in this processor", None
    say("timing updates in float32 and in bfloat16, a few of each (some seconds)")
    ways: Ways = {"float32": _kernels(run, device, "float32"), "bfloat16": _kernels(run, device, "bfloat16")}
    seconds = update_seconds(config, torch.device(device), ways, clock)
    return *_faster(seconds), {precision: 1e3 * taken for precision, taken in seconds.items()}


def _kernels(run: RunConfig, device: Device, precision: Precision) -> fast.Kind:
    """Put those kernels in use that a training in `precision` would have, and say which they are."""
    return fast.use("plain" if device == "cuda" or precision == "bfloat16" else run.kernels)


def has_bfloat16(device: Device) -> bool:
    """Whether products in bfloat16 are made by the processor itself; imitated ones are never faster."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


def _faster(seconds: Mapping[Precision, float]) -> tuple[Precision, str]:
    """(precision, why) by the seconds of an update in each."""
    exact, rounded = seconds["float32"], seconds["bfloat16"]
    in_exact, in_rounded = (f"{1e3 * taken:,.1f} ms" for taken in (exact, rounded))
    if exact >= WORTHWHILE * rounded:
        return "bfloat16", f"an update takes {in_rounded}, in float32 {in_exact}"
    limit = f" (less than {WORTHWHILE} times as fast)" if rounded < exact else ""
    return "float32", f"an update takes {in_exact}, in bfloat16 {in_rounded}{limit}"

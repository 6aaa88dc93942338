"""Where and how a training calculates: device and kernels, chosen once when it starts.

The choice is kept in the run's `placement.json`, and `--resume` takes the device from there.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import TypeAdapter, ValidationError

from competitor.config import Config, RunConfig
from competitor.errors import ConfigError, ResumeError
from competitor.system import use_threads
from dreamer import fast
from dreamer.files import atomic_write_text
from dreamer.strict import first_problem

FILE_NAME = "placement.json"
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Placement:
    """What was chosen, and why this device."""

    device: Device
    kernels: str  # those of older runs may have gone since
    why: str

    @property
    def line(self) -> str:
        """The choice in one line for the user."""
        return f"device: {self.device} ({self.why}); kernels: {self.kernels}"

    def write(self, run: Path) -> None:
        """Keep the choice in the run directory `run`; raises OSError."""
        atomic_write_text(run / FILE_NAME, json.dumps(asdict(self), indent=2) + "\n")


# What runs had before there was a choice.
FORMER = Placement("cpu", "native", "")


def read_placement(run: Path) -> Placement:
    """What was chosen for the run in the directory `run`. Raises ResumeError when the file is damaged."""
    file = run / FILE_NAME
    try:
        return TypeAdapter(Placement).validate_json(file.read_bytes(), strict=True)
    except FileNotFoundError:
        return FORMER
    except (ValidationError, OSError) as error:
        what = first_problem(error) if isinstance(error, ValidationError) else error.strerror
        raise ResumeError(f"{file} cannot be read ({what}); without this file the CPU is taken") from error


def choose_placement(config: Config, recorded: Placement | None = None) -> Placement:
    """Choose by [run] and, where it says "auto", by what is `recorded` and by what there is.

    The threads and kernels of [run] are in use from then on. Raises ConfigError when the settings ask for a CUDA device
    and there is none, ResumeError when the recorded choice does.
    """
    use_threads(config.run.threads)
    device, why = _device(config.run, recorded)
    kernels = "bfloat16" if config.run.kernels == "auto" else config.run.kernels
    kind = fast.use("plain" if device == "cuda" else kernels)
    if recorded is not None and recorded.device != device:
        why += f"; begun on {recorded.device}, chance begins anew on {device}"
    return Placement(device, kind, why)


def _device(run: RunConfig, recorded: Placement | None) -> tuple[Device, str]:
    is_there = torch.cuda.is_available()
    if run.device == "cuda" and not is_there:
        raise ConfigError(
            f'run.device = "cuda", but torch {torch.__version__} finds no CUDA device here: set it to "auto" or "cpu", '
            "or install a torch built for CUDA"
        )
    if run.device != "auto":
        return run.device, "as run.device says"
    if recorded is not None and recorded.device == "cuda" and not is_there:
        raise ResumeError(
            "this run was begun on a CUDA device, and torch finds none here: --set run.device=cpu continues it on the "
            "CPU, with other chance"
        )
    if recorded is not None:
        return recorded.device, "as when the run began"
    if run.kernels in ("bfloat16", "native"):
        return "cpu", f"the {run.kernels} kernels know nothing else"
    return ("cuda", "torch finds one") if is_there else ("cpu", "torch finds no CUDA device")

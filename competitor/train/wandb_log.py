"""The numbers of a run for Weights & Biases, beside TensorBoard. Needs the extra `wandb`.

Where they go is wandb's own matter: `wandb login` before, or WANDB_MODE=offline and `wandb sync` later.
"""

import importlib
import os
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from competitor.errors import ConfigError, needing
from dreamer.files import atomic_write_text

PROJECT = "hockey-dreamer"


def need_wandb() -> None:
    """Raises PackageError where wandb cannot be loaded: before there is a run directory."""
    with needing("--logger wandb", "wandb"):
        importlib.import_module("wandb")


class WandbLog:
    """One run there, which a resumed training continues. Use it as MetricsWriter does.

    directory: the run directory, which gives the name. Raises PackageError, and ConfigError when wandb does not begin.
    """

    def __init__(self, directory: Path) -> None:
        need_wandb()
        import wandb

        quiet = wandb.Settings(console="off", silent=True, disable_git=True, save_code=False)
        where: dict[str, Any] = {"project": PROJECT, "dir": str(directory), "settings": quiet}
        name = os.path.basename(os.path.realpath(directory))
        try:
            self._run = wandb.init(name=name, id=_id_of(directory), resume="allow", **where)
        except wandb.Error as error:
            again = "run `wandb login` or set WANDB_MODE=offline, then repeat the command"
            raise ConfigError(f"wandb: {str(error).rstrip('.')}; {again}") from error
        # A resumed run goes back to its last save, and wandb's own steps never go back.
        self._run.define_metric("*", step_metric="environment_steps")
        self._works = True

    def write(self, kind: str, position: Mapping[str, float], values: Mapping[str, float]) -> None:
        """Add a line of the record. What fails here ends the logging, not the training."""
        if self._works:
            try:
                self._run.log({**position, **{f"{kind}/{key}": value for key, value in values.items()}})
            except Exception as error:
                self._works = False
                print(f"wandb takes no more numbers: {error}", file=sys.stderr)

    def close(self) -> None:
        """Hand over what is left."""
        if self._works:
            self._run.finish()


def _id_of(directory: Path) -> str:
    """What names the run there: kept in the run directory, however that is moved."""
    file = directory / "wandb" / "id"
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        atomic_write_text(file, uuid.uuid4().hex + "\n")
    return file.read_text(encoding="ascii").strip()

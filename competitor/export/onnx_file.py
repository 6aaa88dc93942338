"""A step of play as an ONNX file, by torch.onnx. Needs the extra `onnx`."""

import importlib
import logging
from pathlib import Path
from typing import Any

import torch

from competitor.errors import needing
from competitor.export.step import Run, Step, tracing
from dreamer.files import atomic_write_bytes

NEXT = "next_"
"""Before the name of each part of the state that comes out."""


def need_onnx() -> None:
    """Raises PackageError unless a file can be written and checked: before the work."""
    with needing("--onnx", "onnx"):
        for name in ("onnx", "onnxscript", "onnxruntime"):
            importlib.import_module(name)


def write_onnx(step: Step, path: Path) -> Run:
    """Write the step to `path`; returns what the file does, run by onnxruntime.

    Inputs are obs, is_first and the state by its names, outputs the next state, `next_action` among it. Raises
    PackageError like `need_onnx`, OSError when the disk refuses.
    """
    need_onnx()
    import onnxruntime

    names = {"input_names": ["obs", "is_first", *step.keys], "output_names": [NEXT + key for key in step.keys]}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # tells of packages that nobody needs
    with tracing(), needing("--onnx", "onnx"):  # versions that do not fit each other are told by what they raise
        program = torch.onnx.export(
            step,
            step.example(),
            dynamo=True,
            dynamic_shapes=step.free_sizes(),
            verbose=False,
            **names,  # type: ignore[arg-type]
        )
        assert program is not None
        content = program.model_proto.SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    atomic_write_bytes(path, content)

    def run(obs: Any, is_first: Any, state: Any) -> Any:
        return dict(zip(step.keys, session.run(None, {"obs": obs, "is_first": is_first, **state}), strict=True))

    return run

"""A step of play as a Python file that needs NumPy alone, with its weights beside it.

The step is traced by torch.export and written down operation by operation: whatever the agent computes, the file does.
"""

import hashlib
import operator
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from competitor.errors import CompetitorError, printable
from competitor.export.step import Run, Step, tracing
from competitor.play.npz import packed
from dreamer.files import atomic_write_both

# What stands for an operation of torch; {0}, {1}, ... are its arguments.
OPERATIONS = {
    "aten.abs.default": "np.abs({0})",
    "aten.add.Tensor": "{0} + {1}",
    "aten.addmm.default": "{0} + {1} @ {2}",
    "aten.alias.default": "{0}",
    "aten.any.dim": "np.any({0}, axis={1}, keepdims={2})",
    "aten.argmax.default": "np.argmax({0}, axis={1})",
    "aten.bitwise_not.default": "~{0}",
    "aten.cat.default": "np.concatenate({0}, axis={1})",
    "aten.clamp.default": "np.clip({0}, {1}, {2})",
    "aten.clone.default": "{0}",
    "aten.div.Tensor": "{0} / {1}",
    "aten.elu.default": "np.where({0} > 0, {0}, np.expm1(np.minimum({0}, 0)))",
    "aten.eq.Tensor": "{0} == {1}",
    "aten.exp.default": "np.exp({0})",
    "aten.expand.default": "np.broadcast_to({0}, [old if new == -1 else new for old, new in zip({0}.shape, {1})])",
    "aten.expm1.default": "np.expm1({0})",
    "aten.full_like.default": "np.full_like({0}, {1})",
    "aten.ge.Scalar": "{0} >= {1}",
    "aten.gt.Scalar": "{0} > {1}",
    "aten.index.Tensor": "{0}[tuple({1})]",
    "aten.le.Scalar": "{0} <= {1}",
    "aten.log.default": "np.log({0})",
    "aten.log1p.default": "np.log1p({0})",
    "aten.logical_not.default": "~{0}",
    "aten.lt.Scalar": "{0} < {1}",
    "aten.mm.default": "{0} @ {1}",
    "aten.mul.Scalar": "{0} * {1}",
    "aten.mul.Tensor": "{0} * {1}",
    "aten.ne.Scalar": "{0} != {1}",
    "aten.neg.default": "-{0}",
    "aten.permute.default": "np.transpose({0}, {1})",
    "aten.reciprocal.default": "1.0 / {0}",
    "aten.rsqrt.default": "1.0 / np.sqrt({0})",
    "aten.scalar_tensor.default": "np.float32({0})",
    "aten.scatter.value": "scattered_in({0}, {1}, {2}, {3})",
    "aten.select.int": "np.take({0}, {2}, axis={1})",
    "aten.sigmoid.default": "sigmoid_of({0})",
    "aten.sign.default": "np.sign({0})",
    "aten._softmax.default": "softmax_of({0}, {1})",
    "aten.slice.Tensor": "{0}[(slice(None),) * {1} + (slice({2}, {3}, {4}),)]",
    "aten.split_with_sizes.default": "np.split({0}, np.cumsum({1})[:-1], axis={2})",
    "aten.sqrt.default": "np.sqrt({0})",
    "aten.squeeze.dims": "np.squeeze({0}, axis=tuple({1}))",
    "aten.sub.Tensor": "{0} - {1}",
    "aten.sum.dim_IntList": "np.sum({0}, axis=tuple({1}), keepdims={2})",
    "aten.sym_size.int": "{0}.shape[{1}]",
    "aten.tanh.default": "np.tanh({0})",
    "aten.unsqueeze.default": "np.expand_dims({0}, {1})",
    "aten.view.default": "np.reshape({0}, {1})",
    "aten.where.self": "np.where({0}, {1}, {2})",
}
REST: dict[str, list[Any]] = {
    "aten.any.dim": [None, False],
    "aten.cat.default": [0],
    "aten.clamp.default": [None, None],
    "aten.slice.Tensor": [0, None, None, 1],
    "aten.split_with_sizes.default": [None, 0],
    "aten.sum.dim_IntList": [None, False],
}
"""What an argument is that was left out, from the second on."""
OPERATORS: dict[object, str] = {operator.getitem: "{0}[{1}]", operator.add: "{0} + {1}", operator.mul: "{0} * {1}"}
FILE = '''"""A step of play of {name} (sha256 {digest}), with NumPy alone.

`step` takes obs (rows, {obs}) float32, is_first (rows,) bool and a state, and returns the next state, whose last part
is the action (rows, {actions}). `Player` keeps the states of many rounds at once: with this file and its weights in the
current folder, `evaluate {stem}:Player` plays it. Written by hockey-dreamer {version}.
"""

import hashlib
import io
from pathlib import Path

import numpy as np

PACKED = Path(__file__).with_suffix(".npz").read_bytes()
if hashlib.sha256(PACKED).hexdigest() != "{weights}":
    raise ImportError(f"the weights beside {{__file__}} are damaged or another file's: export both again")
WEIGHTS = dict(np.load(io.BytesIO(PACKED)))
SIZES = {sizes}


def sigmoid_of(x):
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def softmax_of(x, axis):
    shifted = np.exp(x - x.max(axis, keepdims=True))
    return shifted / shifted.sum(axis, keepdims=True)


def scattered_in(x, axis, index, value):
    x = x.copy()
    np.put_along_axis(x, index, value, axis)
    return x


def initial_state(rows):
    return {{key: np.zeros((rows, size), np.float32) for key, size in SIZES.items()}}


def step(obs, is_first, {state}):
    w = WEIGHTS
{body}


class Player:
    name = "{stem}"

    def reset(self, slots):
        self.state, self.fresh = initial_state(slots), np.ones(slots, bool)

    def act(self, obs, is_first):
        """Actions (slots, {actions}) for obs (slots, {obs}); a row with NaN is an idle slot."""
        self.fresh |= is_first
        actions = np.zeros((len(obs), {actions}), np.float32)
        rows = np.flatnonzero(np.isfinite(obs).all(1))
        if len(rows):
            after = step(obs[rows], self.fresh[rows], *(table[rows] for table in self.state.values()))
            for table, new in zip(self.state.values(), after):
                table[rows] = new
            actions[rows] = np.nan_to_num(after[-1])
            self.fresh[rows] = False
        return actions
'''
BEGINNING = FILE.partition("{name}")[0]
"""By which a file is known to be one of these."""


def write_numpy(step: Step, path: Path, about: Mapping[str, str]) -> Run:
    """Write the step to `path` (.py) and its weights beside it (.npz); returns what the file does.

    about: name, digest and version, for the file's first lines. Raises OSError when the disk refuses, CompetitorError
    when the agent computes something that has no line here.
    """
    with tracing():
        program = torch.export.export(step, step.example(), dynamic_shapes=step.free_sizes()).run_decompositions()
    body, weights = _written(program, step.keys)
    agent = step.agent
    sizes = {key: table.shape[1] for key, table in agent.initial_state(1).items()}
    facts = {"obs": agent.obs_size, "actions": agent.action_size, "stem": path.stem, "state": ", ".join(step.keys)}
    # Whatever a path holds, it does not end the text that it stands in.
    shown = {key: printable(value).translate(str.maketrans('\\"', "/'")) for key, value in about.items()}
    content = packed(weights)
    text = FILE.format(body=body, sizes=sizes, weights=hashlib.sha256(content).hexdigest(), **facts, **shown)
    atomic_write_both(path.with_suffix(".npz"), content, path, text)
    function = runpy.run_path(str(path))["step"]

    def run(obs: Any, is_first: Any, state: Any) -> Any:
        return dict(zip(step.keys, function(obs, is_first, *state.values()), strict=True))

    return run


def _written(program: torch.export.ExportedProgram, keys: list[str]) -> tuple[str, dict[str, Any]]:
    """The body of the function `step`, and the weights that it takes."""
    signature, weights = program.graph_signature, {}
    sources = signature.inputs_to_parameters | signature.inputs_to_buffers | signature.inputs_to_lifted_tensor_constants
    kept: dict[str, Tensor] = {**program.constants, **program.state_dict}
    program.graph.eliminate_dead_code()
    given, lines, names = iter(["obs", "is_first", *keys]), [], {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in sources:
            source = sources[node.name]
            if node.users:
                weights[source] = kept[source].detach().numpy()
            names[node.name] = f"w[{source!r}]"
        elif node.op == "placeholder":
            names[node.name] = next(given)
        elif node.op == "call_function":
            names[node.name] = node.name
            lines.append(f"    {node.name} = {_line(node, names)}")
        else:
            lines.append(f"    return {', '.join(names[one.name] for one in node.args[0])}")
    return "\n".join(lines), weights


def _line(node: fx.Node, names: Mapping[str, str]) -> str:
    kind = str(node.target)
    template = OPERATORS.get(node.target, OPERATIONS.get(kind))
    if template is None:
        raise CompetitorError(f"this agent cannot be written with NumPy: there is nothing for {kind}")
    given = [*node.args]
    given += REST.get(kind, [])[len(given) - 1 :] if given else []
    return str(template).format(*(_text(one, names) for one in given))


def _text(value: object, names: Mapping[str, str]) -> str:
    if isinstance(value, fx.Node):
        return names[value.name]
    if isinstance(value, list | tuple):
        return f"[{', '.join(_text(one, names) for one in value)}]"
    if isinstance(value, float) and not np.isfinite(value):
        return f'float("{value}")'
    return repr(value)

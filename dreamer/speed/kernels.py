"""Which fast paths are taken, and the row kernels that they are made of, in torch.

    use("native")   compiled chains (chains.c), the default where a C compiler exists; for float32 tensors on a CPU
    use("torch")    the same chains, operation by operation in torch
    use("plain")    no fast paths at all: the reference, differentiated by autograd

Matrices are (rows, size); those named ``out`` may be slices of wider ones, everything else is contiguous. Functions
ending in ``_`` overwrite their first argument. kernels.c holds the same functions; KL and LaProp are called from here.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dreamer.speed.native import Library, load_chains

Kind = Literal["native", "torch", "plain"]
_kind: Kind | None = None
_thread = threading.local()


class LaPropStep(NamedTuple):
    """The numbers of one step of LaProp, bias corrections included; rate holds that of the mean already."""

    rate: float
    beta1: float
    beta2: float
    square_correction: float
    epsilon: float


@cache
def _library() -> Library | None:
    return load_chains()


def kind() -> Kind:
    """Which kernels are in use; chosen at the first call unless ``use`` has said it."""
    global _kind
    if getattr(_thread, "plain", False):
        return "plain"
    if _kind is None:
        _kind = "native" if _library() is not None else "torch"
    return _kind


def use(wanted: Kind | Literal["auto"]) -> Kind:
    """Choose the kernels from now on and return what was chosen: "native" falls back to "torch" without a compiler."""
    global _kind
    _kind = None if wanted == "auto" or (wanted == "native" and _library() is None) else wanted
    return kind()


@contextmanager
def using(wanted: Kind) -> Iterator[None]:
    """The chosen kernels inside a with block."""
    before = kind()
    use(wanted)
    try:
        yield
    finally:
        use(before)


@contextmanager
def plainly() -> Iterator[None]:
    """The reference inside a with block, in this thread alone: what plays gives the same bits on any machine."""
    before, _thread.plain = getattr(_thread, "plain", False), True
    try:
        yield
    finally:
        _thread.plain = before


def library_for(x: Tensor) -> Library | None:
    """The compiled chains, if they are in use and can work on x."""
    fits = kind() == "native" and x.dtype == torch.float32 and x.device.type == "cpu"
    return _library() if fits else None


def norm_silu_(y: Tensor, scale: Tensor, epsilon: float, out: Tensor, inverse: Tensor) -> None:
    """y (rows, n) becomes y / rms(y), out = silu(y * scale), inverse (rows, 1) = 1 / rms."""
    _normalize_(y, epsilon, inverse)
    torch.mul(y, scale, out=out)
    torch.ops.aten.silu_(out)


def norm_silu_backward(dout: Tensor, y: Tensor, scale: Tensor, inverse: Tensor, dscale: Tensor) -> Tensor:
    """The gradient at y before ``norm_silu_`` from that at out; the gradient at scale is added to dscale (n,)."""
    dsum = torch.ops.aten.silu_backward(dout, y * scale)
    dscale += (dsum * y).sum(0)
    return _normalize_backward(dsum.mul_(scale), y, inverse)


def gru_(gates: Tensor, scale: Tensor, epsilon: float, h: Tensor, out: Tensor, inverse: Tensor) -> None:
    """The recurrent cell after its product: gates (rows, 3 n) become gates / rms, out the next h (rows, n).

    h may be a slice; inverse (rows, 1) becomes 1 / rms.
    """
    _normalize_(gates, epsilon, inverse)
    _, _, candidate, update = _gru_parts(gates, scale)
    torch.lerp(h, candidate, update, out=out)


def gru_backward(
    dout: Tensor, gates: Tensor, scale: Tensor, inverse: Tensor, h: Tensor, dscale: Tensor
) -> tuple[Tensor, Tensor]:
    """(gradient at gates before ``gru_``, gradient at h but for the part through the product)."""
    reset, inner, candidate, update = _gru_parts(gates, scale)
    dcandidate = dout * update * (1.0 - candidate.square())
    dreset = dcandidate * inner * reset * (1.0 - reset)
    dupdate = dout * (candidate - h) * update * (1.0 - update)
    dsum = torch.cat([dreset, dcandidate * reset, dupdate], -1)
    dscale += (dsum * gates).sum(0)
    return _normalize_backward(dsum.mul_(scale), gates, inverse), dout * (1.0 - update)


def draw_one_hot(logits: Tensor, uniform: Tensor, unimix: float, out: Tensor) -> tuple[Tensor, Tensor]:
    """Draw from each group of logits (rows, groups, classes) by inversion of uniform (rows, groups).

    out (rows, groups * classes) becomes one-hot. Returns (softmax of the logits, drawn positions in a row of out
    (rows, groups) int32).
    """
    groups, classes = logits.shape[1:]
    soft = torch.softmax(logits, -1)
    edges = torch.add(soft[..., :-1] * (1.0 - unimix), unimix / classes).cumsum(-1)
    drawn = (uniform[..., None] > edges).sum(-1)
    position = drawn + torch.arange(groups, device=drawn.device) * classes
    out.zero_().scatter_(-1, position, 1.0)
    return soft, position.to(torch.int32)


def straight_through_(dlogits: Tensor, dz: Tensor, soft: Tensor, unimix: float) -> None:
    """Add to dlogits (rows, groups, classes) what the gradient at the one-hot samples dz (rows, ...) means for it."""
    dsoft = dz.reshape(soft.shape) * (1.0 - unimix)
    dlogits += soft * (dsoft - (dsoft * soft).sum(-1, keepdim=True))


def categorical_kl(one: Tensor, two: Tensor, unimix: float) -> tuple[Tensor, Tensor, Tensor]:
    """(KL(one || two) (rows,), softmax of one, softmax of two) of logits (rows, groups, classes); unimix > 0."""
    rows, groups, classes = one.shape
    library = library_for(one)
    if library is not None:
        soft_one, soft_two, kl = torch.empty_like(one), torch.empty_like(two), one.new_empty(rows)
        pointers = [tensor.data_ptr() for tensor in (one, two, soft_one, soft_two, kl)]
        library.calls.kl_forward(rows, groups, classes, unimix, *pointers)
        return kl, soft_one, soft_two
    soft_one, soft_two = torch.softmax(one, -1), torch.softmax(two, -1)
    p, q = _mixed(soft_one, unimix), _mixed(soft_two, unimix)
    return (p * (p.log() - q.log())).sum((-2, -1)), soft_one, soft_two


def categorical_kl_backward(
    soft_one: Tensor, soft_two: Tensor, grad_one: Tensor, grad_two: Tensor, unimix: float
) -> tuple[Tensor, Tensor]:
    """Gradients at both logits, where the KL weighs grad_one (rows,) for the one and grad_two for the other."""
    rows, groups, classes = soft_one.shape
    library = library_for(soft_one)
    if library is not None:
        done, dtwo = torch.empty_like(soft_one), torch.empty_like(soft_two)
        pointers = [t.data_ptr() for t in (soft_one, soft_two, grad_one, grad_two, done, dtwo)]
        library.calls.kl_backward(rows, groups, classes, unimix, *pointers)
        return done, dtwo
    p, q = _mixed(soft_one, unimix), _mixed(soft_two, unimix)
    done = grad_one[:, None, None] * (1.0 - unimix) * (p.log() - q.log())
    dtwo = -grad_two[:, None, None] * (1.0 - unimix) * p / q
    return _softmax_backward(done, soft_one), _softmax_backward(dtwo, soft_two)


def add_rows_(out: Tensor, index: Tensor, table: Tensor) -> None:
    """out (rows, n) += the sum of those rows of table (., n) that index (rows, count) int32 names.

    The product of one-hot vectors with a matrix, without the product.
    """
    starts = torch.arange(0, index.numel(), index.shape[1], dtype=torch.int32, device=out.device)
    out += torch.embedding_bag(table.contiguous(), index.reshape(-1), starts, False, 0)[0]


def _normalize_(x: Tensor, epsilon: float, inverse: Tensor) -> None:
    torch.linalg.vecdot(x, x, out=inverse[:, 0])
    inverse.div_(x.shape[-1]).add_(epsilon).rsqrt_()
    x.mul_(inverse)


def _normalize_backward(dx: Tensor, x: Tensor, inverse: Tensor) -> Tensor:
    dot = torch.linalg.vecdot(dx, x).div_(x.shape[-1])[:, None]
    return torch.addcmul(dx, x, dot, value=-1.0).mul_(inverse)


def _gru_parts(gates: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    reset, inner, update = (gates * scale).chunk(3, -1)
    reset, update = torch.sigmoid(reset), torch.sigmoid(update - 1.0)
    return reset, inner, torch.tanh(reset * inner), update


@torch.no_grad()
def laprop_(
    weights: list[Tensor],
    gradients: list[Tensor],
    squares: list[Tensor],
    means: list[Tensor],
    factors: list[float],
    settings: LaPropStep,
) -> None:
    """One step of LaProp (see dreamer.optimizer) on many tensors; factors scale the gradients first."""
    s = settings
    if library_for(weights[0]) is not None and all(t.is_contiguous() for t in (*weights, *gradients)):
        _laprop_native(weights, gradients, squares, means, factors, s)
        return
    torch._foreach_mul_(gradients, factors)
    torch._foreach_mul_(squares, s.beta2)
    torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - s.beta2)
    scale = torch._foreach_div(squares, s.square_correction)
    torch._foreach_sqrt_(scale)
    torch._foreach_add_(scale, s.epsilon)
    torch._foreach_lerp_(means, torch._foreach_div(gradients, scale), 1.0 - s.beta1)
    torch._foreach_add_(weights, means, alpha=-s.rate)


def _laprop_native(
    weights: list[Tensor],
    gradients: list[Tensor],
    squares: list[Tensor],
    means: list[Tensor],
    factors: list[float],
    s: LaPropStep,
) -> None:
    library = _library()
    assert library is not None
    for group in zip(weights, gradients, squares, means, factors, strict=True):
        *tensors, factor = group
        pointers = [tensor.data_ptr() for tensor in tensors]
        numbers = (factor, s.beta1, s.beta2, s.square_correction, s.rate, s.epsilon)
        library.calls.laprop_step(tensors[0].numel(), *pointers, *numbers)
        torch.autograd.graph.increment_version(tensors[0])  # what is laid out for play has to be laid out anew


def _mixed(soft: Tensor, unimix: float) -> Tensor:
    return torch.add(soft * (1.0 - unimix), unimix / soft.shape[-1])


def _softmax_backward(dsoft: Tensor, soft: Tensor) -> Tensor:
    return soft * (dsoft - (dsoft * soft).sum(-1, keepdim=True))

"""Products of numbers rounded to bfloat16: exact but for that rounding, and never of what has to stay exact."""

import ctypes

import pytest
import torch
from torch import Tensor

from dreamer import fast, speed
from dreamer.speed import fused
from dreamer.update import Updater
from tests.dreamer.speed.test_fused import (
    KINDS,
    agent_with,
    behavior_pass,
    observed_behavior_pass,
    observed_world_pass,
    world_pass,
)
from tests.dreamer.tiny import assert_close, filled_buffer, noise_source

needs_half = pytest.mark.skipif(
    fast.kind() == "plain" or not speed.has_half(), reason="no C compiler, or a processor that is no faster in bfloat16"
)


class Terms(ctypes.Structure):
    """As in products.c: some terms of a product's sums."""

    _fields_ = (
        *(("k", ctypes.c_int64), ("exact", ctypes.c_int64), ("x", ctypes.c_void_p), ("x_ld", ctypes.c_int64)),
        *(("w", ctypes.c_void_p), ("w_ld", ctypes.c_int64)),
    )


def product(kinds: bytes, parts: list[tuple[Tensor, Tensor, bool]], keep: float, c: Tensor) -> None:
    """c = keep * c + the sum of two products of (x, w, exact); matrices lie row by row with distances of their own."""
    given = [
        Terms(x.shape[kinds[:1] == b"N"], exact, x.data_ptr(), x.stride(0), w.data_ptr(), w.stride(0))
        for x, w, exact in parts
    ]
    fast.use("bfloat16")
    library, table = fused.chains(), (Terms * 2)(*given)
    library.calls.product(library.products(), kinds, *c.shape, table, keep, c.data_ptr(), c.stride(0))


def part_of(rows: int, columns: int, random: torch.Generator) -> Tensor:
    """A matrix within a wider one, beside which there are only NaN."""
    wide = torch.full((rows + 1, columns + 9), torch.nan)
    wide[:rows, 3 : 3 + columns] = torch.randn(rows, columns, generator=random)
    return wide[:rows, 3 : 3 + columns]


@needs_half
@pytest.mark.parametrize("keep", [0.0, 1.0, -0.5])
@pytest.mark.parametrize("rows", [1, 11, 12, 13, 40])
@pytest.mark.parametrize(("inner", "columns"), [(1, 1), (2, 16), (3, 31), (17, 33), (65, 100)])
def test_a_product_is_that_of_the_rounded_factors_and_of_the_exact_ones(
    rows: int, inner: int, columns: int, keep: float
) -> None:
    random = noise_source(rows * inner)
    factors = [(part_of(rows, k, random), part_of(k, columns, random)) for k in (inner, 19)]
    exact = factors[1][0].double() @ factors[1][1].double()
    wanted = factors[0][0].bfloat16().double() @ factors[0][1].bfloat16().double() + exact
    for kinds in (b"NN", b"NT", b"TN"):
        parts = []
        for matrices, is_exact in zip(factors, (False, True), strict=True):
            kept = [
                part_of(*m.t().shape, random).copy_(m.t()) if k == ord("T") else m
                for m, k in zip(matrices, kinds, strict=True)
            ]
            parts.append((*kept, is_exact))
        c = part_of(rows, columns, random)
        before = c.double()
        if not keep:
            c.fill_(torch.nan)  # what is not kept is not read
        product(kinds, parts, keep, c)
        assert_close([c], [(keep * before if keep else 0.0) + wanted], 1e-6)


@needs_half
def test_extreme_numbers_stay_what_they_are_and_nan_stays_nan() -> None:
    x = torch.tensor([[1e38, 1e-38, 0.0], [torch.inf, 0.0, 1.0], [torch.nan, 0.0, 0.0], [-1e30, 1e30, 1.0]])
    w, c = torch.tensor([[1.0, -2.0], [1.0, 1.0], [3.0, 0.0]]), torch.empty(4, 2)
    product(b"NN", [(x, w, False)], 0.0, c)
    assert c[0, 0] == x[0, 0].bfloat16().float() and c[1].tolist() == [torch.inf, -torch.inf]
    assert c[2].isnan().all() and c[3, 0] == 3.0


@needs_half
@pytest.mark.parametrize("run", [world_pass, behavior_pass, observed_world_pass, observed_behavior_pass])
def test_losses_and_gradients_are_those_of_the_plain_modules_up_to_rounding(run: object) -> None:
    """Drawn classes are left out: a number on the edge of one may fall to the other side."""
    loss, _, grads = run("bfloat16")  # type: ignore[operator]
    plain_loss, _, plain = run("plain")  # type: ignore[operator]
    assert fast.use("bfloat16") == "bfloat16"
    assert_close([loss], [plain_loss], 0.02)
    assert_close(list(grads.values()), list(plain.values()), 0.2)


@needs_half
@pytest.mark.parametrize("rows", [0, 1, 17, 513])
@pytest.mark.parametrize("exact", [0, 1, 9, 30])
def test_the_last_inputs_and_the_last_layer_are_not_rounded(rows: int, exact: int) -> None:
    """Where what may be rounded is made of short numbers, all is as in float32; so are gradients that meet the rest."""
    random = noise_source(rows + exact)
    x, w = torch.randn(rows, 30, generator=random), torch.randn(20, 30, generator=random)
    short = 30 - exact
    for table in (x, w):
        table[:, :short] = table[:, :short].bfloat16().float()
    weights = [w, torch.ones(20), torch.randn(7, 20, generator=random), torch.zeros(7)]
    results = []
    for kind in ("bfloat16", "native"):
        fast.use(kind)
        given = [x.clone().requires_grad_(), *(weight.clone().requires_grad_() for weight in weights)]
        out = fused.run_perceptron(given[0], 1e-4, given[1:], exact)
        dx, dw, *rest = torch.autograd.grad(out.square().sum(), given)
        results.append([out, dx[:, short:], dw[:, short:], *rest])
    assert_close(*results, 1e-5)


@needs_half
def test_updates_in_bfloat16_go_where_those_in_float32_go() -> None:
    moves = []
    for kind in ("bfloat16", *KINDS):
        agent = agent_with(kind)
        updater, buffer = Updater(agent), filled_buffer(agent.config)
        before = [p.detach().clone() for p in agent.parameters()]
        metrics = [updater.train_step(buffer.sample()) for _ in range(5)]
        assert all(one["skipped"] == 0.0 for one in metrics)
        moves.append(torch.cat([(p - old).flatten() for p, old in zip(agent.parameters(), before, strict=True)]))
    likeness = torch.nn.functional.cosine_similarity(moves[0], moves[1], 0)
    assert likeness > 0.8


def test_where_the_processor_cannot_or_is_no_faster_float32_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    library = fused.load_chains()
    if library is not None:
        monkeypatch.setattr(speed, "load_chains", lambda: library._replace(has_tiles=False))
    assert fast.use("bfloat16") == fast.use("native")

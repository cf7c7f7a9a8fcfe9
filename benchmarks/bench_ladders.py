"""What each rung of each ladder brings: the variants of an operation by turns.

`tinyvq` is the default one. The others run under their own names, so that what a rung
changes (`tinyvq_kernels.kernels` tells it) stands beside what it brings.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tinyvq_kernels as kernels

from benchmarks import bench_sampling
from benchmarks.harness import OURS, Case, Work, assert_close


class Job(NamedTuple):
    """A call of an operation, and its floating-point operations where they matter."""

    call: Callable[[], Any]
    flops: float = 0.0


def draw(*shape: int) -> np.ndarray:
    """Draw standard normal float32 numbers, the same each time."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def search(toy: bool) -> Job:
    """The search of a small codebook."""
    z, codes = draw(37 if toy else 4096, 64), draw(512, 64)
    return Job(lambda: kernels.nearest_code(z, codes), 2.0 * z.size * len(codes))


def code_sums(toy: bool) -> Job:
    """What the running means of a codebook are updated by."""
    z = draw(37 if toy else 32768, 64)
    indices = np.random.default_rng(0).integers(0, 512, len(z))
    return Job(lambda: kernels.code_sums(z, indices, 512)[0])


def convolution(part: str, toy: bool) -> Job:
    """A 3×3 layer in the middle of the VQ-VAE."""
    n = 1 if toy else 32
    x, w, gy = draw(n, 8, 8, 128), draw(3, 3, 128, 128), draw(n, 8, 8, 128)
    calls: dict[str, Callable[[], Any]] = {
        "conv2d": lambda: kernels.conv2d(x, w, padding=1),
        "conv2d_input_grad": lambda: kernels.conv2d_input_grad(
            gy, w, (8, 8), padding=1
        ),
        "conv2d_weight_grad": lambda: kernels.conv2d_weight_grad(
            x, gy, (3, 3), padding=1
        ),
    }
    return Job(calls[part], 2.0 * gy.size * w[..., 0].size)


def product(toy: bool) -> Job:
    """A product as a transformer has them."""
    a, b = draw(12 if toy else 1536, 128), draw(128, 512)
    return Job(lambda: kernels.matmul(a, b), 2.0 * a.size * b.shape[1])


def attention(part: str, toy: bool) -> Job:
    """Causal attention of the transformer prior; FLOPs as if nothing were hidden."""
    shape = (2, 7, 32) if toy else (256, 49, 32)  # (B,T,E)
    q, k, v, gy = (np.roll(draw(*shape), i) for i in range(4))
    one = 2.0 * q.size * k.shape[1]  # a product of two matrices
    if part == "attention":
        return Job(lambda: kernels.attention(q, k, v, True)[0], 2 * one)
    _, lse = kernels.attention(q, k, v, True)
    return Job(
        lambda: np.stack(kernels.attention_grad(q, k, v, lse, gy, True)), 4 * one
    )


def decoder(toy: bool) -> Job:
    """All positions of the transformer prior; FLOPs without those of attention."""
    prior = bench_sampling.prior_of_size(toy)
    weights, heads = prior.decoder_weights(), prior.heads
    width, codes = weights.head.shape
    xs = draw(prior.grid[0] * prior.grid[1], 2 if toy else 64, width)  # (T,N,W)

    def call() -> np.ndarray:
        positions, count, _ = xs.shape
        found = kernels.decoder(weights, heads, count, positions)
        return np.stack([found.step(x, t) for t, x in enumerate(xs)])

    return Job(call, 2.0 * xs.size * (12 * len(weights.qkv) * width + codes))


def norm(part: str, toy: bool) -> Job:
    """Group norm as in the VQ-GAN's middle layers."""
    x, c = draw(1 if toy else 8, 1024, 64), np.ones(64, np.float32)
    _, mean, rstd = kernels.group_norm(x, c, c, 32, 1e-6)
    if part == "group_norm":
        return Job(lambda: kernels.group_norm(x, c, c, 32, 1e-6)[0])
    gy = np.roll(x, 1, axis=1)
    return Job(lambda: kernels.group_norm_grad(x, gy, mean, rstd, c)[0])


def values(part: str, toy: bool) -> Job:
    """Functions of single values, on an activation of 4 MB."""
    x = draw(1 << (10 if toy else 20))
    calls: dict[str, Callable[[], Any]] = {
        "relu": lambda: kernels.relu(x),
        "relu_grad": lambda: kernels.relu_grad(x, x),
        "silu": lambda: kernels.silu(x),
        "silu_grad": lambda: kernels.silu_grad(x, x),
        "pixel_sums": lambda: kernels.pixel_sums(x.reshape(8, -1, 64)),
    }
    return Job(calls[part])


def adam(toy: bool) -> Job:
    """A step of 40 parameters, a million values in all."""
    size = 25 if toy else 25_000
    p, g, m, v = ([draw(size) for _ in range(40)] for _ in range(4))
    for variance in v:
        np.square(variance, out=variance)
    settings = {"lr": 0.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    numbers = kernels.adam_numbers([1] * 40, **settings)

    def step() -> np.ndarray:  # at a rate of 0, so that each call does the same
        kernels.adam(p, g, m, v, numbers=numbers)
        return p[0].copy()

    return Job(step)


# What is timed of each ladder in the table of kernels: a test holds that none is left
# out.
JOBS: dict[str, tuple[str, Callable[[bool], Job]]] = {
    "nearest_code": ("nearest of 512 codes for 4096 vectors of width 64", search),
    "code_sums": ("sums of 32768 vectors of width 64 by code", code_sums),
    **{
        op: ("batch 32, 8×8, 128 to 128 channels, 3×3", partial(convolution, op))
        for op in ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")
    },
    "matmul": ("(1536, 128) times (128, 512)", product),
    **{
        op: (
            "64 grids, 4 heads of width 32, 49 codes, causal",
            partial(attention, op),
        )
        for op in ("attention", "attention_grad")
    },
    "decoder": ("64 grids of 49 codes, 4 layers of width 128", decoder),
    **{
        op: ("batch 8, 1024 positions, 64 channels, 32 groups", partial(norm, op))
        for op in ("group_norm", "group_norm_grad")
    },
    **{
        op: ("2^20 values", partial(values, op))
        for op in ("relu", "relu_grad", "silu", "silu_grad", "pixel_sums")
    },
    "adam": ("40 parameters of 25,000 values", adam),
}


def ladders() -> list[str]:
    """List the operations that have more than one rung on CPUs."""
    ops = dict.fromkeys(kernel.op for kernel in kernels.kernels())
    return [op for op in ops if len(rungs(op)) > 1]


def rungs(op: str) -> list[str]:
    """List the variants that run on CPUs as they are, the default one first."""
    ladder = [k for k in kernels.kernels(op) if k.backend == "cpu"]
    own = [k for k in ladder if not k.variant.startswith("cuda_emulated")]
    return [k.variant for k in sorted(own, key=lambda k: not k.default)]


def build(op: str, toy: bool) -> Work:
    """Make the same call by each variant of an operation."""
    call, flops = JOBS[op][1](toy)

    def by(variant: str) -> Any:
        with kernels.use_kernels(**{op: variant}):
            return call()

    default, *others = rungs(op)
    contenders = {OURS: partial(by, default)}
    contenders |= {variant: partial(by, variant) for variant in others}

    def check(found: Mapping[str, Any]) -> None:
        assert_close(found, 0 if op == "nearest_code" else 1e-4)

    return Work(contenders, check, flops=flops)


CASES = [
    Case(f"ladders/{op}", f"{op}, `{rungs(op)[0]}`: {what}", partial(build, op))
    for op, (what, _) in JOBS.items()
]

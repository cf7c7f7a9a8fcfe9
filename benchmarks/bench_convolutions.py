"""Convolutions and both their gradients against PyTorch, over the presets' layers.

A transposed convolution is the same three calls, so `conv`'s two of them stand here as
the layers that they are the adjoints of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tinyvq_kernels as kernels
import torch
import torch.nn.functional as F

from benchmarks.harness import Case, Work, assert_close
from benchmarks.peers import LAYOUTS

PARTS = ("forward", "input gradient", "weight gradient")


@dataclass(frozen=True)
class Layer:
    """A layer of a preset: a kernel of taps × taps on images of size × size."""

    preset: str
    batch: int
    size: int
    taps: int
    stride: int
    inputs: int
    outputs: int

    @property
    def padding(self) -> int:
        """What keeps the size, or halves it."""
        return (self.taps - 1) // 2

    @property
    def settings(self) -> dict[str, int]:
        """As both libraries name them."""
        return {"stride": self.stride, "padding": self.padding}


LAYERS = (
    *(
        Layer("conv", 32, *sizes)
        for sizes in (  # size, taps, stride, inputs, outputs
            (32, 4, 2, 3, 64),
            (16, 4, 2, 64, 128),
            (8, 3, 1, 128, 128),
            (8, 3, 1, 128, 32),
            (8, 1, 1, 32, 128),
            (8, 1, 1, 128, 64),
            (8, 3, 1, 64, 128),
        )
    ),
    *(
        Layer("small", 8, *sizes)
        for sizes in (
            (64, 3, 1, 3, 32),
            (64, 3, 1, 32, 32),
            (64, 3, 2, 32, 32),
            (32, 3, 1, 64, 64),
            (32, 1, 1, 32, 64),
            (16, 3, 1, 128, 128),
            (16, 1, 1, 128, 128),
        )
    ),
)


def build(layer: Layer, part: str, toy: bool) -> Work:
    """Make one of the three calls of a layer."""
    n, size, taps = layer.batch, layer.size, layer.taps
    if toy:
        n, size = 2, 8
    made = size // layer.stride
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    x, w = (
        draw(n, size, size, layer.inputs),
        draw(taps, taps, layer.inputs, layer.outputs),
    )
    b, gy = draw(layer.outputs), draw(n, made, made, layer.outputs)
    contenders = {"tinyvq": _ours(layer, part, x, w, b, gy)} | {
        name: _theirs(layer, part, x, w, b, gy, layout)
        for name, layout in LAYOUTS.items()
    }
    axes = (2, 3, 1, 0) if part == "weight gradient" else (0, 2, 3, 1)

    def check(found: Mapping[str, Any]) -> None:
        ours = {"tinyvq": found["tinyvq"]}
        peers = {k: v.permute(axes).numpy() for k, v in found.items() if k not in ours}
        # Sums of up to N·P·Q terms in other orders and forms; roundings are far below.
        assert_close(ours | peers, 1e-4)

    flops = 2.0 * n * made**2 * taps**2 * layer.inputs * layer.outputs
    return Work(contenders, check, flops=flops)


def _ours(
    layer: Layer, part: str, x: np.ndarray, w: np.ndarray, b: np.ndarray, gy: np.ndarray
) -> Callable[[], np.ndarray]:
    settings = layer.settings
    return {
        "forward": lambda: kernels.conv2d(x, w, b, **settings),
        "input gradient": lambda: kernels.conv2d_input_grad(
            gy, w, x.shape[1:3], **settings
        ),
        "weight gradient": lambda: kernels.conv2d_weight_grad(
            x, gy, w.shape[:2], **settings
        ),
    }[part]


def _theirs(
    layer: Layer,
    part: str,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    gy: np.ndarray,
    layout: torch.memory_format,
) -> Callable[[], torch.Tensor]:
    tx, tgy = (
        torch.tensor(a.transpose(0, 3, 1, 2)).contiguous(memory_format=layout)
        for a in (x, gy)
    )
    tw = torch.tensor(w.transpose(3, 2, 0, 1)).contiguous(memory_format=layout)
    tb = torch.tensor(b)

    def backward(wanted: int) -> torch.Tensor:
        return torch.ops.aten.convolution_backward(
            tgy,
            tx,
            tw,
            None,  # no gradient of a bias
            [layer.stride] * 2,
            [layer.padding] * 2,
            [1, 1],  # dilation
            False,  # transposed
            [0, 0],  # output padding
            1,  # groups
            [wanted == 0, wanted == 1, False],
        )[wanted]

    return {
        "forward": lambda: F.conv2d(tx, tw, tb, **layer.settings),
        "input gradient": lambda: backward(0),
        "weight gradient": lambda: backward(1),
    }[part]


def _name(layer: Layer, part: str) -> str:
    sizes = f"{layer.taps}x{layer.taps}-{layer.inputs}-{layer.outputs}"
    stride = f"s{layer.stride}" if layer.stride > 1 else ""
    place = f"{layer.preset}-{sizes}{stride}-at-{layer.size}"
    return f"convolutions/{place}/{part.replace(' ', '-')}"


CASES = [
    Case(
        _name(layer, part),
        f"{part}, batch {layer.batch}, {layer.size}×{layer.size}, "
        f"{layer.inputs} to {layer.outputs} channels, {layer.taps}×{layer.taps}"
        + (f", stride {layer.stride}" if layer.stride > 1 else ""),
        partial(build, layer, part),
    )
    for layer in LAYERS
    for part in PARTS
]

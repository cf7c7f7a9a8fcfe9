"""The nearest code on a real GPU: the CPU's answer, on ten million vectors."""

import numpy as np
import pytest
import tinyvq_kernels
from gpu_device import real_cupy
from tinyvq_kernels import use_kernels

pytestmark = pytest.mark.gpu

COUNT = 1_000_000  # vectors a shape
SHAPES = [  # D, M
    *((1, 7), (3, 100), (4, 512), (8, 1024), (16, 700), (20, 512)),
    *((32, 512), (64, 512), (65, 300), (128, 256)),
]
RUNGS = [
    *("register_tiled", "double_buffered", "small_depth", "tensor_cores", "hopper"),
    "fastest",
]


@pytest.mark.parametrize(("depth", "codes"), SHAPES)
@pytest.mark.parametrize("values", ["normal", "small integers"])
def test_equals_the_cpu_on_a_million_vectors(
    depth: int, codes: int, values: str
) -> None:
    """Of small integers, and of codes that stand there twice, many scores tie."""
    cupy = real_cupy()
    rng = np.random.default_rng(depth)
    shapes = (COUNT, depth), (codes, depth)
    if values == "normal":
        z, table = (rng.standard_normal(shape, np.float32) for shape in shapes)
        table[codes // 2 :] = table[: codes - codes // 2]
    else:
        z, table = (rng.integers(-2, 3, shape).astype(np.float32) for shape in shapes)
    expected = tinyvq_kernels.nearest_code(z, table)
    on_device = cupy.asarray(z), cupy.asarray(table)
    for rung in RUNGS:
        with use_kernels(nearest_code=rung):
            found = tinyvq_kernels.nearest_code(*on_device).get()
        wrong = np.flatnonzero(found != expected)
        assert wrong.size == 0, (rung, wrong[:5], found[wrong[:5]], expected[wrong[:5]])

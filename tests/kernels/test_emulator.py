"""The emulator itself, on small kernels: what CUDA defines, and what is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulated import needs_compiler
from tinyvq_kernels import emulator
from tinyvq_kernels._cuda import Source, empty, launch
from tinyvq_kernels.emulator import (
    CompilationFailed,
    CompilerMissing,
    EmulationError,
    Report,
    build,
    emulation,
)

pytestmark = needs_compiler

Run = Callable[..., None]
T = "int t = threadIdx.x;"
INT = np.int32


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Launch a body of code as a kernel of the parameters and arguments given."""

    def run(body: str, parameters: str, *arguments: Any, **sizes: Any) -> None:
        text = f'extern "C" __global__ void kernel({parameters}) {{\n{body}\n}}\n'
        file = tmp_path / "kernel.cu"
        file.write_text(sizes.pop("before", "") + text)
        grid, block = sizes.get("grid", (1, 1, 1)), sizes.get("block", (64, 1, 1))
        source = Source(str(file), sizes.get("macros"))
        launch(source, "kernel", grid=grid, block=block, arguments=arguments)
        emulator.device.program.cache_clear()  # the next text has the same name

    return run


def integers(run: Run, body: str, n: int = 64, **sizes: Any) -> Any:
    """Run a body that writes out_n[t]."""
    out = np.full(n, -7, INT)
    run(f"{T}\n{body}", "int *out_n", out, **({"block": (n, 1, 1)} | sizes))
    return out


LANES = np.arange(64) % 32
WARPS = np.arange(64) // 32 * 32


# ---- what CUDA defines


def test_threads_and_blocks_are_numbered(run: Run) -> None:
    out = np.zeros((2, 3, 2, 4, 5), INT)
    body = """
    int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] =
        10000 * blockIdx.y + 1000 * blockIdx.x + 100 * threadIdx.z + 10 * threadIdx.y
        + threadIdx.x;"""
    run(body, "int *out", out, grid=(3, 2, 1), block=(5, 4, 2))
    i = np.indices(out.shape)
    want = 10000 * i[0] + 1000 * i[1] + 100 * i[2] + 10 * i[3] + i[4]
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize(
    ("call", "source"),
    [
        ("__shfl_sync(~0u, t, 5)", WARPS + 5),
        ("__shfl_sync(~0u, t, t + 1)", WARPS + (LANES + 1) % 32),
        ("__shfl_sync(~0u, t, 9, 8)", WARPS + LANES // 8 * 8 + 1),
        ("__shfl_xor_sync(~0u, t, 3)", WARPS + (LANES ^ 3)),
        ("__shfl_up_sync(~0u, t, 4)", WARPS + np.where(LANES < 4, LANES, LANES - 4)),
        (
            "__shfl_down_sync(~0u, t, 3, 16)",
            WARPS + np.where(LANES % 16 > 12, LANES, LANES + 3),
        ),
        ("(int)__shfl_xor_sync(~0u, (double)t, 16)", WARPS + (LANES ^ 16)),
    ],
)
def test_shuffles(run: Run, call: str, source: Any) -> None:
    np.testing.assert_array_equal(integers(run, f"out_n[t] = {call};"), source)


def test_shuffles_in_a_row(run: Run) -> None:
    """A lane that is one shuffle ahead overwrites nothing that is still read."""
    body = """int v = t;
    for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(~0u, v, step);
    out_n[t] = v;"""
    want = WARPS * 32 + 31 * 16
    for mode in ("fast", "checked", "orders"):
        with emulation(mode) as report:
            found = integers(run, body)
        np.testing.assert_array_equal(found, want)
        assert report.findings == []


def test_a_shuffle_among_some_lanes(run: Run) -> None:
    body = "out_n[t] = t % 2 ? -1 : __shfl_xor_sync(0x55555555u, t, 2);"
    want = np.where(LANES % 2, -1, WARPS + (LANES ^ 2))
    np.testing.assert_array_equal(integers(run, body), want)


def test_votes(run: Run) -> None:
    odd = "t % 2"
    assert set(integers(run, f"out_n[t] = __ballot_sync(~0u, {odd}) == 0xaaaaaaaau;"))
    assert set(integers(run, "out_n[t] = __any_sync(~0u, t == 40);")) == {0, 1}
    assert set(integers(run, "out_n[t] = __all_sync(~0u, t != 40);")) == {0, 1}
    assert set(integers(run, "out_n[t] = __syncthreads_count(t % 2);")) == {32}
    assert set(integers(run, "out_n[t] = __syncthreads_or(t == 3);")) == {1}
    assert set(integers(run, "out_n[t] = __syncthreads_and(t != 3);")) == {0}


def test_a_warp_that_is_not_full(run: Run) -> None:
    body = "out_n[t] = __popc(__ballot_sync(~0u, 1)) + 0 * __shfl_xor_sync(~0u, t, 1);"
    np.testing.assert_array_equal(
        integers(run, body, 40), np.where(np.arange(40) < 32, 32, 8)
    )


def test_atomics(run: Run) -> None:
    out = np.array([0, 100, -1, 0, ~0, 0, 3], INT)
    body = f"""{T}
    atomicAdd(&out[0], t); atomicMin(&out[1], t); atomicMax(&out[2], t);
    atomicOr(&out[3], 1 << t % 4); atomicAnd(&out[4], ~(1 << t % 4));
    atomicXor(&out[5], 1); atomicCAS(&out[6], 3, 5);"""
    with emulation("all") as report:
        run(body, "int *out", out, block=(33, 1, 1), grid=(2, 1, 1))
    assert [str(found) for found in report.findings] == []  # atomics do not race
    np.testing.assert_array_equal(out[:6], [2 * 528, 0, 32, 15, ~15, 0])
    assert out[6] == 5


def test_what_an_atomic_returns_depends_on_the_order(run: Run) -> None:
    out, counter = np.zeros(32, INT), np.zeros(1, INT)
    body = "out_n[threadIdx.x] = atomicAdd(counter, 1);"
    with emulation("all") as report:
        run(body, "int *out_n, int *counter", out, counter, block=(32, 1, 1))
    assert report.kinds == {"orders"}
    np.testing.assert_array_equal(out, np.arange(32))  # what stands is the usual order


def test_float_functions_round_once(run: Run) -> None:
    a, b, c = (np.float32(x) for x in (1 + 2**-13, 1 - 2**-13, -1))
    out = np.zeros(3, np.float32)
    body = "out[0] = fmaf(a, b, c); out[1] = a * b + c; out[2] = rsqrtf(4.0f);"
    parameters = "float *out, float a, float b, float c"
    run(body, parameters, out, a, b, c, block=(1, 1, 1))
    np.testing.assert_array_equal(out, [-(2.0**-26), 0, 0.5])


def test_arrays_without_elements(run: Run) -> None:
    for mode in ("fast", "all"):
        with emulation(mode) as report:
            run("if (n) x[0] = 1;", "float *x, int n", np.zeros((0, 3), "f"), INT(0))
        assert report.findings == []


# ---- what is found


def finding(report: Report) -> emulator.Finding:
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


NEIGHBOUR = f"""{T}
__shared__ int s[64];
s[t] = t;
BARRIER
out_n[t] = s[t ^ BY];"""


def neighbours(run: Run, barrier: str, by: int, mode: str) -> Report:
    out = np.zeros(64, INT)
    with emulation(mode) as report:
        text = NEIGHBOUR.replace("BARRIER", barrier).replace("BY", str(by))
        run(text, "int *out_n", out)
    return report


def test_a_race_names_both_threads_and_both_lines(run: Run) -> None:
    found = [f for f in neighbours(run, "", 1, "checked").findings if f.kind == "race"]
    assert (found[0].array, found[0].index) == ("s", (1,))
    assert (found[0].thread, found[0].other_thread) == ((1, 0, 0), (0, 0, 0))
    assert (found[0].line, found[0].other_line) == (4, 6)
    assert "no barrier lies between" in str(found[0])


@pytest.mark.parametrize(("by", "kinds"), [(1, set()), (32, {"race"})])
def test_a_warp_barrier_orders_its_warp_alone(
    run: Run, by: int, kinds: set[str]
) -> None:
    report = neighbours(run, "__syncwarp();", by, "checked")
    assert report.kinds - {"uninitialised"} == kinds


@pytest.mark.parametrize("writer", [31, 32, 40, 95])
def test_a_write_races_with_reads_of_every_other_warp(run: Run, writer: int) -> None:
    """Though the last readers are of the writer's own warp, and behind its barrier."""
    body = f"""{T}
    __shared__ int s[1];
    if (t == 0) s[0] = 1;
    __syncthreads();
    int seen = s[0];
    __syncwarp();
    if (t == {writer}) s[0] = 8;
    __syncthreads();
    out_n[t] = seen + s[0];"""
    with emulation("checked") as report:
        run(body, "int *out_n", np.zeros(96, INT), block=(96, 1, 1))
    (found,) = (f for f in report.findings if f.kind == "race")
    assert found.thread == (writer, 0, 0)
    assert found.other_thread[0] // 32 != writer // 32


def test_a_block_barrier_orders_all(run: Run) -> None:
    for by in (1, 32):
        assert neighbours(run, "__syncthreads();", by, "all").findings == []


def test_a_race_of_blocks(run: Run) -> None:
    out = np.zeros(1, INT)
    with emulation("checked") as report:
        run("out[0] = 3;", "int *out", out, grid=(2, 1, 1), block=(1, 1, 1))
    found = finding(report)
    assert (found.kind, found.block, found.other_block) == (
        "race",
        (1, 0, 0),
        (0, 0, 0),
    )
    assert "blocks run in any order" in str(found)


def test_bytes_of_one_word_do_not_race(run: Run) -> None:
    out = np.zeros(64, np.uint8)
    with emulation("all") as report:
        run("out_n[threadIdx.x] = threadIdx.x;", "unsigned char *out_n", out)
    assert report.findings == []
    np.testing.assert_array_equal(out, np.arange(64))


def test_a_read_of_what_nobody_wrote(run: Run) -> None:
    x, y = empty(8, np.float32, like=np.zeros(1)), np.zeros(8, np.float32)
    assert np.isnan(x).all()
    body = f"{T} y[t] = x[t];"
    with emulation("checked") as report:
        run(body, "const float *x, float *y", x, y, block=(8, 1, 1))
    assert (finding(report).kind, finding(report).array) == ("uninitialised", "x")
    x[:] = 1
    with emulation("checked") as report:
        run(body, "const float *x, float *y", x, y, block=(8, 1, 1))
    assert report.findings == []


@pytest.mark.parametrize("index", ["-1", "n", "n + 99"])
def test_an_access_beyond_an_array_harms_nothing(run: Run, index: str) -> None:
    x = np.arange(5, dtype=np.float32)
    before = x.copy()
    with emulation("checked") as report:
        run(f"x[{index}] = 1;", "float *x, int n", x, INT(5), block=(1, 1, 1))
    assert (finding(report).kind, finding(report).array) == ("bounds", "x")
    np.testing.assert_array_equal(x, before)


def test_an_access_far_from_all_arrays_ends_the_block_of_code(run: Run) -> None:
    reached = False
    with emulation("checked") as report:
        body, x = "x[1ll << 40] = 1;", np.zeros(5, "f")
        run(body, "float *x", x, block=(1, 1, 1))
        reached = True
    assert finding(report).kind == "bounds"
    assert "outside of all arrays" in str(finding(report))
    assert not reached


def test_an_index_beyond_a_local_array(run: Run) -> None:
    with emulation("checked") as report:
        body = "int s[4] = {1, 2, 3, 4}; x[0] = s[n];"
        run(body, "int *x, int n", np.zeros(5, INT), INT(4), block=(1, 1, 1))
    assert "takes element 4 of 'int [4]'" in str(finding(report))


def test_an_access_beyond_a_shared_array_by_pointer(run: Run) -> None:
    body = """__shared__ float s[3][4]; __shared__ float other[64];
    float *p = &s[0][0]; p[n] = 1; other[0] = 0; x[0] = p[n] + other[0];"""
    with emulation("checked") as report:
        run(body, "float *x, int n", np.zeros(5, "f"), INT(12), block=(1, 1, 1))
    assert {(f.kind, f.array) for f in report.findings} == {("bounds", "s")}


def test_a_vector_at_an_odd_address(run: Run) -> None:
    wide = np.arange(9, dtype=np.float32)
    body = "float4 v = *(const float4 *)x; y[0] = v.x;"
    for x, kinds in ((wide[:8], set()), (wide[4:], set()), (wide[1:], {"alignment"})):
        with emulation("checked") as report:
            run(body, "const float *x, float *y", x, np.zeros(1, "f"), block=(1, 1, 1))
        assert report.kinds == kinds


def test_arrays_that_overlap_stay_so(run: Run) -> None:
    x = np.arange(6, dtype=np.float32)
    with emulation("checked") as report:
        body = "y[0] = 7; z[0] = x[2];"
        parameters = "const float *x, float *y, float *z"
        run(body, parameters, x[:3], x[2:5], x[5:], block=(1, 1, 1))
    assert report.findings == []
    np.testing.assert_array_equal(x, [0, 1, 7, 3, 4, 7])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("if (t < 7) __syncthreads();", "thread (7, 0, 0) has left the kernel"),
        ("if (t < 7)\n__syncthreads();\nelse\n__syncthreads();", "waits in line 6"),
        ("if (t == 3) return;\n__syncwarp();", "thread (3, 0, 0) has left the kernel"),
        ("if (t != 3) __shfl_sync(~0u, t, 0);", "thread (3, 0, 0) has left the kernel"),
    ],
)
def test_a_barrier_that_not_all_reach(run: Run, body: str, told: str) -> None:
    """On a device it may hang, so it is told in every mode."""
    for mode in ("fast", "checked", "orders", "all"):
        with emulation(mode) as report:
            integers(run, body)
        assert finding(report).kind == "divergence"
        assert told in str(finding(report))
    with pytest.raises(EmulationError, match="waits at a barrier"):
        integers(run, body)


def test_a_division_by_zero(run: Run) -> None:
    with emulation("checked") as report:
        run("x[0] = 5 / n;", "int *x, int n", np.zeros(1, INT), INT(0))
    assert finding(report).kind == "division"


def test_the_report_counts(run: Run) -> None:
    body = f"""{T}
    __shared__ float s[64];
    s[t] = x_n[t];
    __syncthreads();
    x_n[t] = s[63 - t] + s[t];"""
    with emulation("checked") as report:
        run(body, "float *x_n", np.zeros((2, 64), "f")[0], grid=(1, 1, 1))
    (found,) = report.launches
    assert (found.kernel, found.blocks, found.threads) == ("kernel", 1, 64)
    assert (found.shared_bytes, found.barriers) == (256, 1)
    assert (found.shared_reads, found.shared_writes) == (128, 64)
    assert (found.global_reads, found.global_writes) == (64, 64)


# ---- what cannot be run


def test_text_that_does_not_compile(run: Run) -> None:
    with pytest.raises(CompilationFailed, match=r"kernel\.cu:2:.*error: .*nothing"):
        run("*x = nothing;", "float *x", np.zeros(1, "f"))


def test_local_arrays_that_a_fiber_has_no_stack_for(run: Run) -> None:
    body = "volatile float s[20000]; s[0] = 1; *x = s[0];"
    with pytest.raises(CompilationFailed, match="frame size"):
        run(body, "float *x", np.zeros(1, "f"))


def test_no_compiler(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    build.compiler.cache_clear()
    try:
        assert not emulator.is_available()
        with pytest.raises(CompilerMissing, match="there is no 'no-such-compiler'"):
            run("*x = 1;", "float *x", np.zeros(1, "f"))
    finally:
        monkeypatch.undo()
        build.compiler.cache_clear()


def test_a_mode_that_does_not_exist() -> None:
    message = "there is no mode 'slow'; there is: fast, checked, orders, all"
    with pytest.raises(ValueError, match=message), emulation("slow"):
        pass

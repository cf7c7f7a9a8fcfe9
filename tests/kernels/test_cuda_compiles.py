"""Every CUDA kernel, with every set of macros in use, compiles for real devices.

NVRTC makes machine code for them here, where there is no device. A kernel that needs
more registers than it did runs fewer threads at a time; one that spills them waits for
memory. `cuda_budget.json` says how many each kernel may use.
"""

import nvrtc
import pytest
from cuda_budget import KERNELS, architectures, log_of, read, sources
from tinyvq_kernels._cuda import Source

BUDGET = read()


def told(source: Source) -> str:
    return " ".join([source.path, *(f"{name}={v}" for name, v in source.macros)])


def test_every_cuda_file_is_compiled() -> None:
    files = {path.relative_to(KERNELS).as_posix() for path in KERNELS.rglob("*.cu")}
    assert files == {source.path for source in sources()} == BUDGET.keys()


@pytest.mark.parametrize("source", sources(), ids=told)
def test_compiles_within_its_registers_and_spills_none(source: Source) -> None:
    budget = BUDGET[source.path]
    for arch in architectures(source):
        log = log_of(source, arch)
        used = nvrtc.usage(log)
        assert used.keys() <= budget.keys(), "cuda_budget.json lacks one"
        assert len(used) == log.count("Compiling entry function"), log
        over = {k: u for k, u in used.items() if u.registers > budget[k]}
        assert over == {}, f"{arch}: more registers than {budget}"
        in_memory = {k: u for k, u in used.items() if u.stack}
        assert in_memory == {}, f"{arch}: in memory instead of registers"


def compile_text(text: str) -> dict[str, nvrtc.Usage]:
    return nvrtc.usage(nvrtc.compile_for("sm_80", "text.cu", text, ("-std=c++17",)))


def test_a_spill_is_seen() -> None:
    live = range(64)  # in the 32 registers that a block of 1024, twice, leaves each
    starts = ", ".join(f"s{i} = x[{i}]" for i in live)
    chains = " ".join(f"s{i} = fmaf(s{i}, s{(i + 7) % 64}, x[k]);" for i in live)
    used = compile_text(
        'extern "C" __global__ void __launch_bounds__(1024, 2) f(const float *x, '
        f"float *y, int n) {{ float {starts}; for (int k = 0; k < n; ++k) "
        f"{{ {chains} }} y[threadIdx.x] = {' + '.join(f's{i}' for i in live)}; }}"
    )
    assert used["f"].stack > 0


def test_an_error_is_told_with_its_line() -> None:
    with pytest.raises(AssertionError, match=r"text\.cu\(1\): error.*nothing"):
        compile_text('extern "C" __global__ void f(float *y) { *y = nothing; }')

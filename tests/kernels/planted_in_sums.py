"""Bugs to be planted: values one by one, sums over pixels and over a code's rows."""

from collections.abc import Iterator

import numpy as np
import tinyvq_kernels
from averaging_cases import running_means_cases
from kernel_case import KernelCase, draw
from planted_bug import Bug


def pixel_sums_case(n: int, l: int, c: int) -> KernelCase:
    return KernelCase(
        *("pixel_sums", "planted", (draw("x", n, l, c),)),
        lambda x: (tinyvq_kernels.pixel_sums(x),),
        terms=n * l,
    )


def code_sums_case(n: int, m: int, depth: int) -> KernelCase:
    indices = np.random.default_rng(n).integers(0, m, n)
    return KernelCase(
        *("code_sums", "planted", (draw("z", n, depth), indices)),
        lambda z, indices: tinyvq_kernels.code_sums(z, indices, m),
        terms=n,
    )


def nearest_code_case(n: int, m: int, depth: int) -> KernelCase:
    return KernelCase(
        *("nearest_code", "planted", (draw("z", n, depth), draw("codes", m, depth))),
        lambda z, codes: (tinyvq_kernels.nearest_code(z, codes),),
        terms=depth,
    )


def value_case(n: int) -> KernelCase:
    return KernelCase(
        *("silu", "planted", (draw("x", n),)),
        lambda x: (tinyvq_kernels.silu(x),),
        terms=8,
    )


def gradient_case(n: int) -> KernelCase:
    return KernelCase(
        *("silu_grad", "planted", (draw("x", n), draw("gy", n))),
        lambda x, gy: (tinyvq_kernels.silu_grad(x, gy),),
        terms=8,
        bounds=lambda dtype, x, gy: (1e-5 * np.abs(gy) * (1 + np.abs(x)),),
    )


def pointwise_bugs() -> Iterator[Bug]:
    file, case = "pointwise/pointwise.cu", value_case(1021)
    yield Bug(
        *("no bound", file, "plain", case),
        *("if (i < n) y_n[i]", "y_n[i]", "bounds"),
    )
    load = "\n        REAL4 x = reinterpret_cast<const REAL4 *>(x_n)[i], y;"
    yield Bug(
        *("<= for < at the last float4", file, "vectorised", case),
        *(f"if (i < fours) {{{load}", f"if (i <= fours) {{{load}", "bounds"),
    )
    yield Bug(
        *("no tail", file, "vectorised", case),
        *("if (tail < n) y_n[tail] = VALUE(x_n[tail]);", "", "parity"),
    )
    yield Bug(
        *("float4 from an odd place", file, "vectorised", gradient_case(1021)),
        *("*>(gy_n)[i], gx", "*>(gy_n + 1)[i], gx", "alignment"),
    )
    yield Bug(
        *("a store of the neighbour's", file, "plain", gradient_case(1021)),
        *("if (i < n) gx_n[i] =", "if (i < n) gx_n[i / 2 * 2] =", "race"),
    )


def reduction_bugs() -> Iterator[Bug]:
    file, case = "reduction/reduction.cu", pixel_sums_case(2, 37, 33)
    stored = "parts[part][threadIdx.x] = sum;\n"
    step = (
        "if (part < half) parts[part][threadIdx.x] += parts[part + half][threadIdx.x];"
    )
    barrier = "        __syncthreads();\n"
    first = f"    {stored}    __syncthreads();\n"
    for told in ("race", "orders"):
        yield Bug(
            *(f"no barrier before the tree, {told}", file, "tree", case),
            *(first, f"    {stored}", told),
        )
        yield Bug(
            *(f"no barrier in the tree, {told}", file, "tree", case),
            *(f"{step}\n{barrier}", f"{step}\n", told),
        )
    yield Bug(
        *("a barrier for some", file, "tree", case),
        *(f"{step}\n{barrier}", f"if (part < half) {{ {step}\n{barrier} }}\n"),
        "divergence",
    )
    yield Bug(
        *("another stride", file, "tree", case),
        *("l += PARTS", "l += CHANNELS", "parity"),
    )
    yield Bug(
        *("the tree begins too wide", file, "tree", case),
        *("int half = PARTS / 2", "int half = PARTS", "bounds"),
    )
    yield Bug(
        *("a part that is empty is not stored", file, "tree", pixel_sums_case(2, 7, 5)),
        *(stored, f"if (part < l_size) {stored}", "uninitialised"),
    )
    yield Bug(
        *("all parts write the sum", file, "tree", case),
        *("if (part == 0 && c < c_size)", "if (c < c_size)", "race"),
    )
    yield Bug(
        *("every block's sums in the first's place", file, "tree", case),
        *("if (part == 0 && c < c_size) y_c[c]", "if (part == 0 && c < c_size) y_c[0]"),
        "race",
    )


def spread_bugs() -> Iterator[Bug]:
    file, case = "reduction/reduction.cu", pixel_sums_case(2, 2500, 3)
    odd, aligned = pixel_sums_case(1, 4099, 3), pixel_sums_case(3, 1400, 4)
    stored = "columns[warp][4 * lane + i] = sums[i];\n"
    yield Bug(
        *("no barrier before warps are added", file, "spread", case),
        *(f"{stored}    __syncthreads();\n", stored, "race"),
    )
    added = "columns[0][t] += columns[other][t];\n"
    yield Bug(
        *("no barrier before columns are added", file, "spread", case),
        *(f"{added}    __syncthreads();\n", added, "orders"),
    )
    yield Bug(
        *("columns of one pixel alone", file, "spread", case),
        *("i < here; i += c_size", "i < c_size; i += c_size", "parity"),
    )
    yield Bug(
        *("the last line is taken to be whole", file, "spread", odd),
        *("x_i[at + i < end ? at + i : 0]", "x_i[at + i]", "bounds"),
    )
    yield Bug(
        *("float4 from an odd place", file, "spread", aligned),
        *("column = first + 4 * lane", "column = first + 3 * lane", "alignment"),
    )
    yield Bug(
        *("lines beyond the last", file, "spread", aligned),
        *("min((long long)lines * width, n - begin)", "(lines * width)", "bounds"),
    )


def banded_bugs() -> Iterator[Bug]:
    file, case = "scatter/code_sums.cu", code_sums_case(150, 37, 70)
    for before, what in (
        ("codes are there", "race"),
        ("places are known", "uninitialised"),
        ("rows are sorted", "orders"),
    ):
        line = f"    __syncthreads();  // {before}"
        yield Bug(f"no barrier: {before}", file, "banded", case, line, "//", what)
    yield Bug(
        *("no barrier: the list is whole", file, "banded", case),
        *("        __syncwarp();  // the list is whole\n", "", "race"),
    )
    yield Bug(
        *("the table is not emptied", file, "banded", case),
        *("code += THREADS) table_m[code] = 0", "code += THREADS) (void)0"),
        "uninitialised",
    )
    yield Bug(
        *("rows beyond the end have a code", file, "banded", case),
        *("bool leads = ahead == 0 && code < m", "bool leads = ahead == 0", "bounds"),
    )
    yield Bug(
        *("equal rows share a place", file, "banded", case),
        *("places[row] = smaller + ahead", "places[row] = smaller", "race"),
    )
    yield Bug(
        *("a run without its last row", file, "banded", case),
        *("i < length; ++i) sum += sorted", "i < length - 1; ++i) sum += sorted"),
        "parity",
    )
    yield Bug(
        *("the first part alone", file, "banded", code_sums_case(1000, 9, 5)),
        *("other < parts; ++other) sum +=", "other < 1; ++other) sum +="),
        "parity",
    )


def codebook_bugs() -> Iterator[Bug]:
    file, rung = "averaging/running_means.cu", "fused"
    cases = {case.label: case for case in running_means_cases()}
    case = cases["9x33-float64-True"]
    yield Bug(
        *("no barrier before the size is written", file, rung, case),
        *("    __syncthreads();  // all lanes have read the old size\n", "", "race"),
    )
    yield Bug(
        *("the average moves with each code", file, rung, case),
        *("if (threadIdx.x == 0 && code == 0)", "if (threadIdx.x == 0)", "race"),
    )
    yield Bug(
        *("codes move that nobody chose", file, rung, case),
        *("if (moves && count > 0)", "if (moves)", "parity"),
    )
    file, case = "search/nearest_code.cu", nearest_code_case(7, 70, 133)
    yield Bug(
        *("no barrier before the walk", file, "tiled", case),
        *("    __syncthreads();  // the chunk is whole\n", "\n", "race"),
    )
    yield Bug(
        *("no barrier after the walk", file, "tiled", case),
        *("    __syncthreads();  // nobody needs it any more\n", "\n", "race"),
    )
    yield Bug(
        *("starts beyond the last code", file, "tiled", case),
        *("if (t < STARTS && first + t < m) start_m", "if (t < STARTS) start_m"),
        "bounds",
    )

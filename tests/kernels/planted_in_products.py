"""Bugs to be planted: matrix products, attention, convolutions of few channels."""

from collections.abc import Iterator

from attention_cases import attention_case, attention_grad_case
from cases import (
    Geometry,
    _matmul_case,
    conv2d_case,
    conv2d_input_grad_case,
    conv2d_weight_grad_case,
)
from kernel_case import KernelCase
from planted_bug import Bug


def matmul_case(i: int, l: int, j: int, batch: tuple[int, ...] = (2,)) -> KernelCase:
    return _matmul_case("planted", (*batch, i, l), (*batch, l, j))


def tiled_matmul_bugs() -> Iterator[Bug]:
    file, case = "gemm/matmul.cu", matmul_case(19, 37, 21)
    loop = (
        "        for (int l = 0; l < TILE; ++l) "
        "sum = FMA(a_il[y][l], b_lj[l][x], sum);\n"
    )
    before = "        __syncthreads();  // the tiles are whole\n"
    after = "        __syncthreads();  // nobody needs them any more\n"
    for told in ("race", "orders"):
        yield Bug(
            *(f"no barrier before the products, {told}", file, "tiled", case),
            *(before + loop, loop, told),
        )
        yield Bug(
            *(f"no barrier after the products, {told}", file, "tiled", case),
            *(loop + after, loop, told),
        )
    yield Bug(
        *("indices of a tile swapped", file, "tiled", case),
        *("b_lj[l][x], sum", "b_lj[x][l], sum", "parity"),
    )
    yield Bug(
        *("no zeros beyond the edge", file, "tiled", case),
        "a_il[y][x] = a_inside ? a[place(i, l_a, i_size, l_size, a_turned)] : (REAL)0;",
        "if (a_inside) a_il[y][x] = a[place(i, l_a, i_size, l_size, a_turned)];",
        "uninitialised",
    )
    yield Bug(
        *("rows of b are not counted", file, "tiled", case),
        *("j < j_size && l_b < l_size", "j < j_size", "bounds"),
    )
    yield Bug(
        *("columns of c are not counted", file, "tiled", case),
        *("if (i < i_size && j < j_size) c_nij", "if (i < i_size) c_nij", "bounds"),
    )
    start = "REAL sum = 0;\n    for (int first = 0; first < l_size; first += TILE)"
    yield Bug(
        *("threads beyond the edge leave early", file, "tiled", case),
        *(start, f"if (i >= i_size || j >= j_size) return;\n    {start}", "divergence"),
    )
    yield Bug(
        *("one block too few across", file, "tiled", case),
        "across = (j_size + TILE - 1) / TILE, down",
        *("across = j_size / TILE, down", "bounds"),
    )
    yield Bug(
        *("no block across at all", file, "tiled", matmul_case(19, 37, 3)),
        "across = (j_size + TILE - 1) / TILE, down",
        *("across = j_size / TILE, down", "division"),
    )
    start = ";\n    REAL sum = 0;\n    for (int l = 0"
    yield Bug(
        *("the first b for all", file, "plain", case),
        *(f"b_nlj + n * b_step{start}", f"b_nlj{start}", "parity"),
    )


def register_matmul_bugs() -> Iterator[Bug]:
    file, case = "gemm/matmul.cu", matmul_case(67, 37, 71)
    yield Bug(
        *("padding that is no float4", file, "registers", case),
        *("#define PADDED (WIDTH + 4)", "#define PADDED (WIDTH + 1)", "alignment"),
    )
    yield Bug(
        *("float4 whatever the width", file, "registers", case),
        *("if (row < rows && columns % 4 == 0 && ", "if (row < rows && ", "alignment"),
    )
    yield Bug(
        *("a float beyond the row", file, "registers", case),
        *("column + 3 < columns", "column + 2 < columns", "bounds"),
    )
    yield Bug(
        *("rows of c are not counted", file, "registers", case),
        *("    if (row >= rows) return;\n", "", "bounds"),
    )
    yield Bug(
        *("rows and columns of a thread swapped", file, "registers", case),
        *("fmaf(rows[r], columns[c]", "fmaf(rows[c], columns[r]", "parity"),
    )
    yield Bug(
        *("half of a tile is loaded", file, "registers", case),
        "four < WIDTH * DEPTH / 4; four += 256",
        *("four < WIDTH * DEPTH / 8; four += 256", "uninitialised"),
    )


def attention_bugs() -> Iterator[Bug]:
    # Two tiles of queries and of keys, and rows that are no multiples of 16 bytes.
    file = "softmax_attention/attention_fused.cu"
    case = attention_case((2, 37, 67, 9, 10, True))
    long = attention_case((1, 7, 135, 9, 10, False))
    yield Bug(
        *("no barrier before the panels are filled", file, "fused", case),
        *("__syncthreads();  // nobody needs what was in the panels\n", "", "race"),
    )
    yield Bug(
        *("no barrier before the weights are used", file, "fused", case),
        "__syncthreads();  // w is whole, and nobody needs what was in the panel\n",
        *("", "race"),
    )
    yield Bug(
        *("a key too many is seen", file, "fused", case),
        *("tile[i][j] = c < seen ?", "tile[i][j] = c <= seen ?", "parity"),
    )
    yield Bug(
        *("what was added up does not shrink", file, "fused", long),
        *("sums[i][o] *= shrink;", ";", "parity"),
    )
    yield Bug(
        *("weights that are 0 are not stored", file, "fused", case),
        *("w_rc[r * NEXT + threadIdx.x", "if (w > 0) w_rc[r * NEXT + threadIdx.x"),
        "uninitialised",
    )
    yield Bug(
        *("float4 whatever the width", file, "fused", case),
        *("bool aligned = a.width % 4 == 0;", "bool aligned = true;", "alignment"),
    )
    yield Bug(
        *("rows are not counted", file, "fused", case),
        *("    if (row >= a.size) return four;\n", "", "bounds"),
    )
    start = "    for (int s_first = 0; s_first < last; s_first += COLUMNS) {\n"
    yield Bug(
        *("threads beyond the last query leave early", file, "fused", case),
        *(start, f"    if (t_first + threadIdx.y >= t_size) return;\n{start}"),
        "divergence",
    )
    yield Bug(
        *("all rows of a block are written", file, "fused", case),
        *("if (row < size && own", "if (own", "race"),
    )


def attention_grad_bugs() -> Iterator[Bug]:
    folder, case = "softmax_attention", attention_grad_case((2, 37, 67, 9, 10, True))
    file = f"{folder}/attention_fused.cu"
    yield Bug(
        *("no barrier between two uses of the weights", file, "fused", case),
        *("__syncthreads();  // the weights have been used\n", "", "race"),
    )
    yield Bug(
        *("the first query that sees a key is left out", file, "fused", case),
        *("s_first - (s_size - t_size))", "s_first + 1 - (s_size - t_size))", "parity"),
    )
    yield Bug(
        *("another lane's sum is shifted", file, "fused", case),
        *("(less ? a.total : b.total)", "(less ? b.total : a.total)", "parity"),
    )
    yield Bug(
        *("the way back begins with the tile before", file, "fused", case),
        *("2 * tiles - 1 - walk)", "2 * tiles - 2 - walk)", "bounds"),
    )
    yield Bug(
        *("a column too many", f"{folder}/attention.cu", "plain", case),
        *("if (t >= t_size || s >= s_size)", "if (t >= t_size || s > s_size)", "race"),
    )


def narrow_convolution_bugs() -> Iterator[Bug]:
    file = "convolution/conv2d_narrow.cu"
    case = conv2d_case(Geometry(2, 7, 6, 4, 4, 4, 36, stride=2, padding=1))
    stored = "right4[t + i * THREADS] = columns[i];\n"
    for told in ("race", "orders"):
        yield Bug(
            *(f"no barrier before the products of a chunk, {told}", file, "narrow"),
            *(case, f"{stored}        __syncthreads();\n", stored, told),
        )
    yield Bug(
        *("no barrier after the table", file, "narrow", case),
        *("__syncthreads();  // the table is whole", "//", "uninitialised"),
    )
    yield Bug(
        *("the last chunk is as long as any", file, "narrow", case),
        *("int count = min(CHUNK, inner - chunk)", "int count = CHUNK", "bounds"),
    )
    case = conv2d_case(Geometry(2, 5, 6, 64, k=3, padding=1))
    yield Bug(
        *("half of a group is added up", file, "narrow", case),
        *("apart = 4; apart < lanes", "apart = 4; 2 * apart < lanes", "parity"),
    )
    yield Bug(
        *("weights beyond the last", file, "narrow", case),
        *("min(begin + i * THREADS, all - 1)", "begin + i * THREADS", "bounds"),
    )
    case = conv2d_input_grad_case(Geometry(2, 5, 6, 3, 4, 4, 32, stride=2, padding=1))
    yield Bug(
        *("a phase has the taps of another", file, "narrow", case),
        *("from += (y * s + x - tap) * row", "from += row", "parity"),
    )


def narrow_weight_bugs() -> Iterator[Bug]:
    file = "convolution/conv2d_narrow_weights.cu"
    case = conv2d_weight_grad_case(Geometry(3, 9, 8, 3, k=33, padding=1))
    stored = "        meet(chunk + SPAN);\n"
    yield Bug(
        *("no barrier before the products", file, "narrow", case),
        *(f"{stored}        __syncthreads();\n", stored, "race"),
    )
    yield Bug(
        *("rows of x that are not there", file, "narrow", case),
        *("if (at.image >= n) y = OUTSIDE;", "", "bounds"),
    )
    yield Bug(
        *("all parts in the place of the first", file, "narrow", case),
        *("sums += (long long)part * entries * wc;", "", "race"),
    )
    turned = conv2d_weight_grad_case(Geometry(2, 9, 8, 33, k=3, padding=1))
    yield Bug(
        *("a pixel of x meets what one of gy would", file, "narrow", turned),
        *("if (turned) down = -down, along = -along;", "", "parity"),
    )
    shares = "    shares[share][x] = sum;\n"
    for told in ("race", "orders"):
        yield Bug(
            *(f"no barrier before the shares are added, {told}",),
            *("convolution/add_parts.cu", "narrow", case),
            *(f"{shares}    __syncthreads();\n", shares, told),
        )

// Nearest-code search on tensor cores: rung 6, exact answers at nearly their speed.
//
// A tensor core multiplies 16 × 8 by 8 × 8 values in one instruction of a warp, many
// times as fast as fmas, but of TF32: float32 with 10 bits of fraction. Such scores are
// no answer. They are a filter: where the best of a row leads the second by more than
// twice their error, it is the answer; the other rows, a few in a hundred, are searched
// once more, and there each code that comes close to the best gets its chain of fmas.
//
//     filter     of each row and share of the codes: the best two TF32 scores
//     decide     a warp per row: the answer, or a threshold below the best
//     rescore    rows without an answer: exact scores of all codes above the threshold
//
// How far is a TF32 score t from the score s that the contract defines? Rounding both
// factors to 11 significant bits, to nearest, costs a product at most 2⁻¹⁰ + 2⁻²² of
// itself. How tensor cores add is not documented; measured, they cut off bits, of sums
// of a few products, where IEEE rounds (Fasi, Higham, Mikaitis and Pranesh, "Numerical
// behavior of NVIDIA tensor cores", PeerJ Computer Science 7:e330, 2021). We grant them
// 2⁻²² for each of D + 1 additions, four times what a rounding of float32 costs; the
// chain s itself is off by γ_D, less than D 2⁻²³. So, by Cauchy-Schwarz,
//
//     |t - s|  <=  (2⁻¹⁰ + c) |z| |e|  +  c |e|²/2  +  tiny,    c = (1.5 D + 2) 2⁻²²
//
// e being the longest code, and tiny for what falls below the normal floats:
// D 2⁻¹²⁵ (1 + |z| + |e|). A row whose values could overflow as TF32 is not filtered.
//
// By macro: ALIGNED, as in nearest_code_registers.cu; WARPS_DOWN and WARPS_ACROSS, how
// the warps of a block stand; PORTABLE, 1 to multiply by shuffles and fmas instead.

#define INFINITE __int_as_float(0x7f800000)
#define ALL_LANES 0xffffffffu
constexpr int ROWS = WARPS_DOWN * 64, CODES = WARPS_ACROSS * 64;
constexpr int THREADS = WARPS_DOWN * WARPS_ACROSS * 32;
constexpr int CHUNK = 8, PITCH = 12;  // a fragment's 8 rows × 4 values: 32 banks
constexpr int LOADS_Z = ROWS * CHUNK / 4 / THREADS;
constexpr int LOADS_C = CODES * CHUNK / 4 / THREADS;

// c += a b for a warp: a 16 × 8, b 8 × 8, c 16 × 8. With g = lane / 4 and t = lane % 4,
//
//     a[0 .. 3]   rows g, g+8, g, g+8, columns t, t, t+4, t+4
//     b[0 .. 1]   rows t, t+4, column g
//     c[0 .. 3]   rows g, g, g+8, g+8, columns 2t, 2t+1, 2t, 2t+1
__device__ __forceinline__ void mma(
    float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if PORTABLE
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (int k = 0; k < 8; ++k) {
        for (int i = 0; i < 4; ++i) {
            unsigned left = a[k / 4 * 2 + i / 2], right = b[k / 4];
            left = __shfl_sync(ALL_LANES, left, g * 4 + k % 4);
            right = __shfl_sync(ALL_LANES, right, (2 * t + i % 2) * 4 + k % 4);
            c[i] = fmaf(__uint_as_float(left), __uint_as_float(right), c[i]);
        }
    }
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Round to TF32, to nearest; halves away from zero.
__device__ __forceinline__ float tf32(float value) {
    return __uint_as_float((__float_as_uint(value) + 0x1000u) & 0xffffe000u);
}

// Read d .. d+3 of a row of (.., depth), zeros beyond it; row -1 is all zeros.
__device__ __forceinline__ float4 read4(
    const float *values, int row, int d, int depth) {
    float4 v = make_float4(0, 0, 0, 0);
    if (row < 0 || d >= depth) return v;
    const float *at = values + (size_t)row * depth + d;
#if ALIGNED
    return *(const float4 *)at;
#else
    v.x = at[0];
    if (d + 1 < depth) v.y = at[1];
    if (d + 2 < depth) v.z = at[2];
    if (d + 3 < depth) v.w = at[3];
    return v;
#endif
}

// Which of the block's rows, or codes, is the i-th that this thread fetches.
__device__ __forceinline__ int fetched(int i) {
    return threadIdx.x / (CHUNK / 4) + i * (THREADS / (CHUNK / 4));
}

__device__ __forceinline__ void put4(float4 *tile, int i, float4 v) {
    int q = threadIdx.x % (CHUNK / 4);
    tile[fetched(i) * (PITCH / 4) + q] =
        make_float4(tf32(v.x), tf32(v.y), tf32(v.z), tf32(v.w));
}

// All scores of 64 rows × 64 codes of each warp, over the CHUNK values in the tiles:
// score[i][j] is of rows 16 i .. and codes 8 j .., as mma has it.
__device__ __forceinline__ void carry_on(
    float (&score)[4][8][4], const float4 *z_tile, const float4 *codes_tile) {
    int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    int row = warp / WARPS_ACROSS * 64 + g, code = warp % WARPS_ACROSS * 64 + g;
    const float *z = (const float *)z_tile + row * PITCH + t;
    const float *e = (const float *)codes_tile + code * PITCH + t;
    unsigned a[4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int r = 0; r < 4; ++r)
            a[i][r] = __float_as_uint(z[(i * 16 + r % 2 * 8) * PITCH + r / 2 * 4]);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        unsigned b[2] = {__float_as_uint(e[j * 8 * PITCH]),
                         __float_as_uint(e[j * 8 * PITCH + 4])};
#pragma unroll
        for (int i = 0; i < 4; ++i) mma(score[i][j], a[i], b);
    }
}

// Let codes begin .. end-1 pass, as nearest_code_double_buffered does, for those rows
// that this thread fetches, -1 for none. Each tile of codes ends in a call of finish.
template <class Finish>
__device__ __forceinline__ void pass_codes(
    float4 (*z_tile)[ROWS * PITCH / 4], float4 (*codes_tile)[CODES * PITCH / 4],
    const float *z_nd, const float *codes_md, const float *start_m,
    const int (&rows)[LOADS_Z], int begin, int end, int m, int depth, Finish finish) {
    float4 z[LOADS_Z], e[LOADS_C];
    int d = threadIdx.x % (CHUNK / 4) * 4;
    auto fetch = [&](int code, int from) {
#pragma unroll
        for (int i = 0; i < LOADS_Z; ++i) z[i] = read4(z_nd, rows[i], from + d, depth);
#pragma unroll
        for (int i = 0; i < LOADS_C; ++i) {
            int row = code + fetched(i);
            e[i] = read4(codes_md, row < m ? row : -1, from + d, depth);
        }
    };
    auto put = [&](int to) {
#pragma unroll
        for (int i = 0; i < LOADS_Z; ++i) put4(z_tile[to], i, z[i]);
#pragma unroll
        for (int i = 0; i < LOADS_C; ++i) put4(codes_tile[to], i, e[i]);
    };
    float score[4][8][4];
    fetch(begin, 0);
    put(0);
    __syncthreads();
    int now = 0, code = begin, from = 0;
    while (code < end) {
        int mine = code + threadIdx.x / 32 % WARPS_ACROSS * 64 + threadIdx.x % 4 * 2;
        if (from == 0)
#pragma unroll
            for (int j = 0; j < 8; ++j)
#pragma unroll
                for (int r = 0; r < 4; ++r) {
                    int of = mine + j * 8 + r % 2;
                    float start = of < m ? start_m[of] : -INFINITE;
#pragma unroll
                    for (int i = 0; i < 4; ++i) score[i][j][r] = start;
                }
        bool last = from + CHUNK >= depth;
        int next_code = last ? code + CODES : code, next_from = last ? 0 : from + CHUNK;
        bool more = next_code < end;
        if (more) fetch(next_code, next_from);
        carry_on(score, z_tile[now], codes_tile[now]);
        if (last) finish(mine, score);
        if (more) {
            now ^= 1;
            put(now);
            __syncthreads();
        }
        code = next_code, from = next_from;
    }
}

// ---- filter -------------------------------------------------------------------------

struct Two {
    float best, second;
    int nearest;  // the best's code
};

__device__ __forceinline__ Two better(Two a, Two b) {
    float second = fmaxf(fminf(a.best, b.best), fmaxf(a.second, b.second));
    return b.best > a.best ? Two{b.best, second, b.nearest}
                           : Two{a.best, second, a.nearest};
}

// A row's results of share y and warp x stand at row y · WARPS_ACROSS + x of best_sn.
extern "C" __global__ void __launch_bounds__(THREADS) nearest_code_filter(
    const float *z_nd, const float *codes_md, const float *start_m, float *best_sn,
    float *second_sn, int *nearest_sn, int n, int m, int depth, int share) {
    __shared__ float4 z_tile[2][ROWS * PITCH / 4], codes_tile[2][CODES * PITCH / 4];
    __shared__ Two two[8][THREADS];  // put aside: registers are for scores
    int t = threadIdx.x, warp = t / 32, begin = blockIdx.y * share, rows[LOADS_Z];
#pragma unroll
    for (int i = 0; i < LOADS_Z; ++i) {
        int row = blockIdx.x * ROWS + fetched(i);
        rows[i] = row < n ? row : -1;
    }
    for (int i = 0; i < 8; ++i) two[i][t] = {-INFINITE, -INFINITE, 0};
    auto finish = [&](int code, const float(&score)[4][8][4]) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            Two all = two[i][t];
#pragma unroll
            for (int j = 0; j < 16; ++j) {
                float here = score[i / 2][j / 2][i % 2 * 2 + j % 2];
                all = better(all, {here, -INFINITE, code + j / 2 * 8 + j % 2});
            }
            two[i][t] = all;
        }
    };
    int end = min(begin + share, m);
    pass_codes(z_tile, codes_tile, z_nd, codes_md, start_m, rows, begin, end, m, depth,
               finish);
    for (int i = 0; i < 8; ++i) {
        Two all = two[i][t];
        for (int step = 1; step < 4; step *= 2)
            all = better(all, {__shfl_xor_sync(ALL_LANES, all.best, step),
                               __shfl_xor_sync(ALL_LANES, all.second, step),
                               __shfl_xor_sync(ALL_LANES, all.nearest, step)});
        int row = blockIdx.x * ROWS + warp / WARPS_ACROSS * 64 + t % 32 / 4 + i * 8;
        if (t % 4 > 0 || row >= n) continue;
        size_t to = (size_t)(blockIdx.y * WARPS_ACROSS + warp % WARPS_ACROSS) * n + row;
        best_sn[to] = all.best;
        second_sn[to] = all.second;
        nearest_sn[to] = all.nearest;
    }
}

// ---- decide -------------------------------------------------------------------------

// As in nearest_code_registers.cu.
__device__ __forceinline__ unsigned long long word_of(float score, int code) {
    int bits = __float_as_int(score + 0.0f);
    unsigned ordered = bits < 0 ? ~(unsigned)bits : (unsigned)bits | 0x80000000u;
    return (unsigned long long)ordered << 32 | (0xffffffffu - (unsigned)code);
}

// A warp per row; |z| and the largest |z_d| are found here, and what is not finite or too
// large is refused as in nearest_code.cu.
extern "C" __global__ void nearest_code_decide(
    const float *z_nd, const unsigned long long *top_2, double limit,
    const float *best_sn, const float *second_sn, const int *nearest_sn,
    unsigned long long *words_n, float *threshold_n, int *flag_1, int n, int depth,
    int shares) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= n) return;  // a whole warp
    double squares = 0;
    int most = 0;
    for (int d = lane; d < depth; d += 32) {
        float z = z_nd[(size_t)row * depth + d];
        squares += (double)z * z;
        most = max(most, __float_as_int(z) & 0x7fffffff);
    }
    for (int step = 16; step > 0; step /= 2) {
        squares += __shfl_xor_sync(ALL_LANES, squares, step);
        most = max(most, __shfl_xor_sync(ALL_LANES, most, step));
    }
    if (lane > 0) return;
    double top = __longlong_as_double(top_2[0]), largest = __int_as_float(most);
    double bound = top > 0 ? limit / (depth * top) - top : 2 * limit;
    if (!(largest <= bound)) atomicOr(flag_1, 1);

    Two all = {-INFINITE, -INFINITE, 0};
    for (int share = 0; share < shares; ++share) {
        size_t at = (size_t)share * n + row;
        all = better(all, {best_sn[at], second_sn[at], nearest_sn[at]});
    }
    double z = sqrt(squares), square = __longlong_as_double(top_2[1]);
    // At least |e|: of tiny codes the float32 square is 0. 2⁻¹⁴⁹ a term is what it loses.
    double e = sqrt(square + depth * 1.401298464324817e-45);
    e = fmin(e, sqrt((double)depth) * top);
    double step = (1.5 * depth + 2) * 2.384185791015625e-7;  // 2⁻²²
    double tiny = depth * 2.350988701644575e-38 * (1 + z + e);  // 2⁻¹²⁵
    double off = (0.0009765625 + step) * z * e + step * square / 2 + tiny;
    off *= 1.001;  // for the roundings of this line, and of |e|² itself
    if (!(largest < 1e38)) off = INFINITE;  // TF32 may round up to infinity
    bool sure = (double)all.best - all.second > 2 * off;
    double least = all.best - 2.001 * off - 1e-6 * fabs((double)all.best);
    words_n[row] = sure ? word_of(all.best, all.nearest) : 0;
    threshold_n[row] = sure ? INFINITE : (float)least;  // infinity: there is an answer
}

// ---- rescore ------------------------------------------------------------------------

// A block looks through GROUP rows and lists those without an answer, in their order;
// there are about as many as a tile holds. It searches them as the filter did.
constexpr int GROUP = 2048, EACH = GROUP / THREADS;

extern "C" __global__ void __launch_bounds__(THREADS) nearest_code_rescore(
    const float *z_nd, const float *codes_md, const float *start_m,
    const float *threshold_n, unsigned long long *words_n, int n, int m, int depth,
    int share) {
    __shared__ float4 z_tile[2][ROWS * PITCH / 4], codes_tile[2][CODES * PITCH / 4];
    __shared__ int listed[GROUP], counts[THREADS];
    int t = threadIdx.x, mine = blockIdx.x * GROUP + t * EACH, count = 0, before = 0;
    for (int i = mine; i < min(mine + EACH, n); ++i)
        count += threshold_n[i] != INFINITE;  // NaN has no answer
    counts[t] = count;
    __syncthreads();
    for (int i = 0; i < t; ++i) before += counts[i];
    for (int i = mine; i < min(mine + EACH, n); ++i)
        if (threshold_n[i] != INFINITE) listed[before++] = i;
    int total = 0, begin = blockIdx.y * share, end = min(begin + share, m);
    for (int i = 0; i < THREADS; ++i) total += counts[i];
    for (int first = 0; first < total; first += ROWS) {
        __syncthreads();  // the list is whole; the tiles are no longer needed
        int rows[LOADS_Z];
#pragma unroll
        for (int i = 0; i < LOADS_Z; ++i) {
            int at = first + fetched(i);
            rows[i] = at < total ? listed[at] : -1;
        }
        int place = first + t / 32 / WARPS_ACROSS * 64 + t % 32 / 4;
        auto finish = [&](int code, const float(&score)[4][8][4]) {
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                int at = place + i * 8, row = at < total ? listed[at] : -1;
                float least = row < 0 ? INFINITE : threshold_n[row];
#pragma unroll
                for (int j = 0; j < 16; ++j) {
                    int of = code + j / 2 * 8 + j % 2;
                    if (score[i / 2][j / 2][i % 2 * 2 + j % 2] < least) continue;
                    if (row < 0 || of >= m) continue;
                    float exact = start_m[of];
                    for (int d = 0; d < depth; ++d)
                        exact = fmaf(z_nd[(size_t)row * depth + d],
                                     codes_md[(size_t)of * depth + d], exact);
                    atomicMax(&words_n[row], word_of(exact, of));
                }
            }
        };
        pass_codes(z_tile, codes_tile, z_nd, codes_md, start_m, rows, begin, end, m,
                   depth, finish);
    }
}

// Nearest-code search on a GPU, as a ladder. Each rung computes the same scores,
//
//     score[n, m] = -|e_m|²/2, then  score = fma(z_nd, e_md, score)  for d = 0 .. D-1,
//
// one chain for each pair, never cut, for the contract fixes each of its roundings. So
// all rungs agree on all indices. What can be chosen is who computes which chains, and
// from where it reads z and e. Zeros beyond the end of a chain leave it as it is, so
// tiles may be filled up with them.
//
// By macro: REAL and FMA, float and fmaf or double and fma.
//
// A limit stands for the refusals: see check_range in reference.py. A row of z that
// breaks it sets the flag, as do NaN and infinity, which no limit holds.

// |value| as bits, which order as the values do, NaN above infinity above all numbers.
__device__ __forceinline__ unsigned long long size_bits(REAL value) {
    return __double_as_longlong(fabs((double)value));
}

// Set the flag where |z| <= most does not hold with room for every sum of a score.
__device__ __forceinline__ void refuse_above(
    double most, unsigned long long top_bits, double limit, int depth, int *flag_1) {
    double top = __longlong_as_double(top_bits);
    double bound = top > 0 ? limit / (depth * top) - top : 2 * limit;
    if (!(most <= bound)) atomicOr(flag_1, 1);
}

// Before every rung: start_m = -|e|²/2; top_2, the largest |e_md| and the largest |e|².
//
// A block a STARTS codes. The chain of a code is walked by one thread, as it must be,
// but what it walks over was brought to shared memory by all threads at once, so a
// chunk costs one wait for memory, and the next is fetched meanwhile. With each thread
// reading its own code, 512 codes of 64 took 6.8 µs on an H200, of which the additions
// are a tenth.
constexpr int STARTS = 32, CHUNK = 64, STARTERS = 256;
constexpr int BROUGHT = STARTS * CHUNK / STARTERS;  // by each thread

// Fetch a thread's share of STARTS × CHUNK values; beyond the edges there are zeros.
__device__ __forceinline__ void fetch(
    REAL (&mine)[BROUGHT], const REAL *codes_md, int first, int from, int m,
    int depth) {
    int d = from + threadIdx.x % CHUNK, row = first + threadIdx.x / CHUNK;
#pragma unroll
    for (int i = 0; i < BROUGHT; ++i, row += STARTERS / CHUNK)
        mine[i] = row < m && d < depth ? codes_md[(size_t)row * depth + d] : (REAL)0;
}

extern "C" __global__ void code_starts(
    const REAL *codes_md, REAL *start_m, unsigned long long *top_2, double limit,
    int *flag_1, int m, int depth) {
    __shared__ REAL chunk[STARTS][CHUNK + 1];  // one more: a column is in all banks
    int t = threadIdx.x, first = blockIdx.x * STARTS;
    double bound = sqrt(limit / max(depth, 1));
    REAL length = 0, mine[BROUGHT];
    unsigned long long top = 0;
    fetch(mine, codes_md, first, 0, m, depth);
    for (int from = 0; from < depth; from += CHUNK) {
#pragma unroll
        for (int i = 0; i < BROUGHT; ++i) {
            top = max(top, size_bits(mine[i]));
            chunk[t / CHUNK + i * (STARTERS / CHUNK)][t % CHUNK] = mine[i];
        }
        __syncthreads();  // the chunk is whole
        fetch(mine, codes_md, first, from + CHUNK, m, depth);
        int here = min(CHUNK, depth - from);
        if (t < STARTS) {
#pragma unroll 16
            for (int d = 0; d < here; ++d)
                length = FMA(chunk[t][d], chunk[t][d], length);
        }
        __syncthreads();  // nobody needs it any more
    }
    if (t < STARTS && first + t < m) start_m[first + t] = -length / 2;
    unsigned long long longest = size_bits(length);
    for (int step = 16; step > 0; step /= 2) {  // a warp has one value for all to see
        top = max(top, __shfl_xor_sync(0xffffffffu, top, step));
        longest = max(longest, __shfl_xor_sync(0xffffffffu, longest, step));
    }
    if (t % 32 > 0) return;
    atomicMax(top_2, top);
    if (t == 0) atomicMax(top_2 + 1, longest);
    if (!(__longlong_as_double(top) <= bound)) atomicOr(flag_1, 1);
}

// Rung 1, plain. A thread per vector: it walks through all codes and keeps the best.
// Both operands of each fma come from memory, and 32 threads read 32 rows of z at a
// time: the caches are all that saves this rung.
extern "C" __global__ void nearest_code_plain(
    const REAL *z_nd, const REAL *codes_md, const REAL *start_m,
    const unsigned long long *top_2, double limit, long long *indices_n, int *flag_1,
    int n, int m, int depth) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n) return;
    const REAL *z_d = z_nd + (size_t)row * depth;
    REAL best = 0;
    int nearest = -1;
    for (int code = 0; code < m; ++code) {
        const REAL *code_d = codes_md + (size_t)code * depth;
        REAL score = start_m[code];
        for (int d = 0; d < depth; ++d) score = FMA(z_d[d], code_d[d], score);
        if (nearest < 0 || score > best) {  // strictly: of equals the first stays
            best = score;
            nearest = code;
        }
    }
    indices_n[row] = nearest;
    unsigned long long most = 0;
    for (int d = 0; d < depth; ++d) most = max(most, size_bits(z_d[d]));
    refuse_above(__longlong_as_double(most), *top_2, limit, depth, flag_1);
}

// Rung 2, tiled. TILE × TILE threads, each with one score of a tile of rows × codes.
// A piece of z and of the codes, TILE wide in d, is brought to shared memory, and each
// value there is used TILE times: memory is read TILE times less often. Each fma still
// needs two reads of shared memory, and those are now the limit.
constexpr int TILE = 16;

extern "C" __global__ void nearest_code_tiled(
    const REAL *z_nd, const REAL *codes_md, const REAL *start_m,
    const unsigned long long *top_2, double limit, long long *indices_n, int *flag_1,
    int n, int m, int depth) {
    __shared__ REAL z_tile[TILE][TILE + 1];  // one more: a column is in all banks
    __shared__ REAL codes_tile[TILE][TILE + 1];
    __shared__ int nearest_tile[TILE][TILE];
    int tx = threadIdx.x, ty = threadIdx.y, row = blockIdx.x * TILE + ty;
    REAL best = 0;
    int nearest = -1;
    unsigned long long most = 0;
    for (int first = 0; first < m; first += TILE) {
        int code = first + tx;
        REAL score = code < m ? start_m[code] : 0;
        for (int from = 0; from < depth; from += TILE) {
            bool inside = from + tx < depth;
            REAL z = 0, e = 0;
            if (inside && row < n) z = z_nd[(size_t)row * depth + from + tx];
            if (inside && first + ty < m)
                e = codes_md[(size_t)(first + ty) * depth + from + tx];
            most = max(most, size_bits(z));
            z_tile[ty][tx] = z;
            codes_tile[ty][tx] = e;
            __syncthreads();
            for (int d = 0; d < TILE; ++d)
                score = FMA(z_tile[ty][d], codes_tile[tx][d], score);
            __syncthreads();
        }
        if (code < m && (nearest < 0 || score > best)) {
            best = score;
            nearest = code;
        }
    }
    // A row's TILE threads have seen codes in turn. Of equal scores the lowest code.
    z_tile[ty][tx] = best;
    nearest_tile[ty][tx] = nearest;
    __syncthreads();
    if (tx == 0 && row < n) {
        for (int i = 1; i < TILE; ++i) {
            REAL score = z_tile[ty][i];
            int code = nearest_tile[ty][i];
            if (code >= 0 && (score > best || (score == best && code < nearest))) {
                best = score;
                nearest = code;
            }
        }
        indices_n[row] = nearest;
    }
    refuse_above(__longlong_as_double(most), *top_2, limit, depth, flag_1);
}

// Nearest-code search on a GPU: rungs that keep scores, or z, in registers; float32.
// nearest_code.cu has the steps before.
//
// Here blocks also share the codes out among them: block (x, y) lets the y-th share of
// the codes compete for the x-th tile of rows. A row's answers from all shares meet in
// one 64-bit word by atomicMax: the score above, in bits that order as scores do, and
// below it the code, counted from the top, so that of equal scores the lowest code is
// the largest word. A maximum does not depend on the order in which it is found.
//
// By macro: ALIGNED, whether each row starts at a multiple of 16 bytes; sizes of tiles.

#define INFINITE __int_as_float(0x7f800000)
#define ALL_LANES 0xffffffffu

__device__ __forceinline__ unsigned long long word_of(float score, int code) {
    int bits = __float_as_int(score + 0.0f);  // -0 becomes 0, its equal
    unsigned ordered = bits < 0 ? ~(unsigned)bits : (unsigned)bits | 0x80000000u;
    return (unsigned long long)ordered << 32 | (0xffffffffu - (unsigned)code);
}

// After every rung of this file: each word becomes the code that stands in it.
extern "C" __global__ void codes_of_words(unsigned long long *words_n, int n) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row < n) words_n[row] = 0xffffffffu - (unsigned)words_n[row];
}

// |value| as bits, which order as the values do, NaN above infinity above all numbers.
__device__ __forceinline__ int size_bits(float value) {
    return __float_as_int(value) & 0x7fffffff;
}

__device__ __forceinline__ int size_bits4(float4 v) {
    int a = max(size_bits(v.x), size_bits(v.y));
    return max(a, max(size_bits(v.z), size_bits(v.w)));
}

// As in nearest_code.cu, of the bits of the largest |z| that a thread has seen.
__device__ __forceinline__ void refuse_above(
    int most, unsigned long long top_bits, double limit, int depth, int *flag_1) {
    double top = __longlong_as_double(top_bits);
    double bound = top > 0 ? limit / (depth * top) - top : 2 * limit;
    if (!(__int_as_float(most) <= bound)) atomicOr(flag_1, 1);
}

// Read d .. d+3 of a row of values (rows, depth); zeros outside.
__device__ __forceinline__ float4 read4(
    const float *values, int row, int rows, int d, int depth) {
    float4 v = make_float4(0, 0, 0, 0);
    if (row >= rows || d >= depth) return v;
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

// Rung 3, register_tiled. Each thread has 8 × 8 scores in registers. For each d it
// reads 8 + 8 values of shared memory, four at a time, for 64 fmas, where rung 2 read 2
// for one.
//
//     block    ROWS × CODES, walking over its share of the codes
//     warp     32 × 64 of them, 4 × 8 threads
//     thread   rows 4y .. 4y+3 and those 16 further, codes 4x .. 4x+3 and those 32
//              further: neighbours read neighbouring float4
//
// Tiles stand turned in shared memory, (CHUNK, ROWS), and each d has 4 values to spare,
// which spreads the turned writes over the banks.
#ifndef ROWS
#define ROWS 128
#define CODES 128
#endif
constexpr int CHUNK = 8, THREADS = ROWS * CODES / 64;
constexpr int Z_PITCH = ROWS + 4, C_PITCH = CODES + 4;

struct Place {
    int row, code;  // the first of a thread's own, in its block's tile
};

__device__ __forceinline__ Place place_of(int thread) {
    int warp = thread / 32, lane = thread % 32;
    int down = warp / (CODES / 64), across = warp % (CODES / 64);
    return {down * 32 + lane / 8 * 4, across * 64 + lane % 8 * 4};
}

__device__ __forceinline__ void put4(float *tile, int pitch, int row, int d, float4 v) {
    tile[d * pitch + row] = v.x;
    tile[(d + 1) * pitch + row] = v.y;
    tile[(d + 2) * pitch + row] = v.z;
    tile[(d + 3) * pitch + row] = v.w;
}

__device__ __forceinline__ void get8(float (&v)[8], const float *from, int apart) {
    float4 a = *(const float4 *)from, b = *(const float4 *)(from + apart);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

// Carry all 64 chains on over the CHUNK values in the tiles.
__device__ __forceinline__ void carry_on(
    float (&score)[8][8], const float *z_tile, const float *codes_tile, Place place) {
#pragma unroll
    for (int d = 0; d < CHUNK; ++d) {
        float z[8], e[8];
        get8(z, z_tile + d * Z_PITCH + place.row, 16);
        get8(e, codes_tile + d * C_PITCH + place.code, 32);
#pragma unroll
        for (int i = 0; i < 8; ++i)
#pragma unroll
            for (int j = 0; j < 8; ++j) score[i][j] = fmaf(z[i], e[j], score[i][j]);
    }
}

// Start all chains at -|e|²/2; codes beyond the last at -infinity, which never wins.
__device__ __forceinline__ void start(
    float (&score)[8][8], const float *start_m, int code, int m) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        int mine = code + j % 4 + j / 4 * 32;
        float from = mine < m ? start_m[mine] : -INFINITE;
#pragma unroll
        for (int i = 0; i < 8; ++i) score[i][j] = from;
    }
}

// Of one row keep the better; codes come by growing number, so of equals the first.
__device__ __forceinline__ void compete(
    float& best, int& nearest, const float (&score)[8], int code) {
    float top = best;
    int of_top = nearest;
#pragma unroll
    for (int j = 0; j < 8; ++j)
        if (score[j] > top) {
            top = score[j];
            of_top = code + j % 4 + j / 4 * 32;
        }
    best = top;
    nearest = of_top;
}

// The 8 lanes of a row agree on their best, and bring it to those of other warps.
__device__ __forceinline__ void publish(
    float best, int nearest, unsigned long long *words_n, int row, int n) {
    unsigned long long word = word_of(best, nearest);
    for (int step = 4; step > 0; step /= 2)
        word = max(word, __shfl_xor_sync(ALL_LANES, word, step));
    if (threadIdx.x % 8 == 0 && row < n) atomicMax(&words_n[row], word);
}

// The i-th of a thread's eight rows.
__device__ __forceinline__ int eighth(int i) {
    return i % 4 + i / 4 * 16;
}

extern "C" __global__ void __launch_bounds__(THREADS) nearest_code_register_tiled(
    const float *z_nd, const float *codes_md, const float *start_m,
    const unsigned long long *top_2, double limit, unsigned long long *words_n,
    int *flag_1, int n, int m, int depth, int share) {
    __shared__ float4 z_tile4[CHUNK * Z_PITCH / 4], codes_tile4[CHUNK * C_PITCH / 4];
    float *z_tile = (float *)z_tile4, *codes_tile = (float *)codes_tile4;
    int row = blockIdx.x * ROWS, begin = blockIdx.y * share;
    Place place = place_of(threadIdx.x);
    float best[8];
    int nearest[8], most = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) best[i] = -INFINITE, nearest[i] = 0;
    for (int code = begin; code < min(begin + share, m); code += CODES) {
        float score[8][8];
        start(score, start_m, code + place.code, m);
        for (int from = 0; from < depth; from += CHUNK) {
            for (int i = threadIdx.x; i < ROWS * CHUNK / 4; i += THREADS) {
                int d = i % (CHUNK / 4) * 4, at = i / (CHUNK / 4);
                float4 z = read4(z_nd, row + at, n, from + d, depth);
                most = max(most, size_bits4(z));
                put4(z_tile, Z_PITCH, at, d, z);
            }
            for (int i = threadIdx.x; i < CODES * CHUNK / 4; i += THREADS) {
                int d = i % (CHUNK / 4) * 4, at = i / (CHUNK / 4);
                put4(codes_tile, C_PITCH, at, d,
                     read4(codes_md, code + at, m, from + d, depth));
            }
            __syncthreads();
            carry_on(score, z_tile, codes_tile, place);
            __syncthreads();
        }
#pragma unroll
        for (int i = 0; i < 8; ++i)
            compete(best[i], nearest[i], score[i], code + place.code);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i)
        publish(best[i], nearest[i], words_n, row + place.row + eighth(i), n);
    refuse_above(most, *top_2, limit, depth, flag_1);
}

// Rung 4, double_buffered. Rung 3 waits: for memory, then at the barrier, then for
// memory again. Here the next chunk is on its way from memory into registers while this
// one is used, and is then put into a second pair of tiles: no read is waited for, and
// one barrier a chunk is left. Chunks of all tiles of codes are one sequence, so the
// end of a tile is no stop either.
constexpr int LOADS_Z = ROWS * CHUNK / 4 / THREADS;
constexpr int LOADS_C = CODES * CHUNK / 4 / THREADS;

struct Chunk {
    float4 z[LOADS_Z], e[LOADS_C];
};

__device__ __forceinline__ void fetch(
    Chunk& chunk, const float *z_nd, const float *codes_md, int row, int n, int code,
    int m, int from, int depth) {
    int d = from + threadIdx.x % (CHUNK / 4) * 4, at = threadIdx.x / (CHUNK / 4);
    const int rows = THREADS / (CHUNK / 4);  // by each load of all threads
#pragma unroll
    for (int i = 0; i < LOADS_Z; ++i)
        chunk.z[i] = read4(z_nd, row + at + i * rows, n, d, depth);
#pragma unroll
    for (int i = 0; i < LOADS_C; ++i)
        chunk.e[i] = read4(codes_md, code + at + i * rows, m, d, depth);
}

__device__ __forceinline__ void put(
    const Chunk& chunk, float *z_tile, float *codes_tile, int *most) {
    int d = threadIdx.x % (CHUNK / 4) * 4, at = threadIdx.x / (CHUNK / 4);
    const int rows = THREADS / (CHUNK / 4);
#pragma unroll
    for (int i = 0; i < LOADS_Z; ++i) {
        *most = max(*most, size_bits4(chunk.z[i]));
        put4(z_tile, Z_PITCH, at + i * rows, d, chunk.z[i]);
    }
#pragma unroll
    for (int i = 0; i < LOADS_C; ++i)
        put4(codes_tile, C_PITCH, at + i * rows, d, chunk.e[i]);
}

extern "C" __global__ void __launch_bounds__(THREADS, 512 / THREADS)
nearest_code_double_buffered(
    const float *z_nd, const float *codes_md, const float *start_m,
    const unsigned long long *top_2, double limit, unsigned long long *words_n,
    int *flag_1, int n, int m, int depth, int share) {
    __shared__ float4 z_tile4[2][CHUNK * Z_PITCH / 4];
    __shared__ float4 codes_tile4[2][CHUNK * C_PITCH / 4];
    int row = blockIdx.x * ROWS, begin = blockIdx.y * share;
    int end = min(begin + share, m);
    Place place = place_of(threadIdx.x);
    __shared__ float best[8][THREADS];  // put aside: registers are for the chains
    __shared__ int nearest[8][THREADS];
    float score[8][8];
    int most = 0, me = threadIdx.x;
    for (int i = 0; i < 8; ++i) {
        best[i][me] = -INFINITE;
        nearest[i][me] = 0;
    }
    Chunk chunk;
    fetch(chunk, z_nd, codes_md, row, n, begin, m, 0, depth);
    put(chunk, (float *)z_tile4[0], (float *)codes_tile4[0], &most);
    __syncthreads();
    int now = 0, code = begin, from = 0;
    while (code < end) {
        if (from == 0) start(score, start_m, code + place.code, m);
        bool last = from + CHUNK >= depth;  // of this tile of codes
        int next_code = last ? code + CODES : code, next_from = last ? 0 : from + CHUNK;
        bool more = next_code < end;
        if (more)
            fetch(chunk, z_nd, codes_md, row, n, next_code, m, next_from, depth);
        carry_on(score, (float *)z_tile4[now], (float *)codes_tile4[now], place);
        if (last)
#pragma unroll
            for (int i = 0; i < 8; ++i)
                compete(best[i][me], nearest[i][me], score[i], code + place.code);
        if (more) {
            now ^= 1;  // read last before the barrier that is behind us
            put(chunk, (float *)z_tile4[now], (float *)codes_tile4[now], &most);
            __syncthreads();
        }
        code = next_code, from = next_from;
    }
    for (int i = 0; i < 8; ++i)
        publish(best[i][me], nearest[i][me], words_n, row + place.row + eighth(i), n);
    refuse_above(most, *top_2, limit, depth, flag_1);
}

// Rung 5, small_depth. Of 8 values per vector, rungs 3 and 4 compare and fill tiles as
// long as they multiply. Here a thread keeps VECTORS whole vectors of z in registers
// and codes pass by in shared memory, each read by all threads at once. Of a GROUP of
// scores only the largest is looked at: after the first few hundred codes it hardly
// ever beats the best so far, and only then are the scores compared one by one.
#ifndef DEPTH
#define DEPTH 8  // of the vectors, rounded up to a multiple of 4 with zeros
#endif
#ifndef VECTORS
#define VECTORS 8
#endif
#ifndef PASSING
#define PASSING 128  // codes in shared memory at a time
#endif
constexpr int GROUP = 4, SMALL_THREADS = 128;

__device__ __forceinline__ float dot4(float4 z, float4 e, float score) {
    score = fmaf(z.y, e.y, fmaf(z.x, e.x, score));
    return fmaf(z.w, e.w, fmaf(z.z, e.z, score));
}

extern "C" __global__ void __launch_bounds__(SMALL_THREADS) nearest_code_small_depth(
    const float *z_nd, const float *codes_md, const float *start_m,
    const unsigned long long *top_2, double limit, unsigned long long *words_n,
    int *flag_1, int n, int m, int depth, int share) {
    __shared__ float4 passing[PASSING][DEPTH / 4];
    __shared__ float starts[PASSING];
    int row = blockIdx.x * VECTORS * SMALL_THREADS + threadIdx.x;
    int begin = blockIdx.y * share, end = min(begin + share, m);
    float4 z[VECTORS][DEPTH / 4];
    float best[VECTORS];
    int nearest[VECTORS], most = 0;
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        best[v] = -INFINITE, nearest[v] = 0;
#pragma unroll
        for (int q = 0; q < DEPTH / 4; ++q) {
            z[v][q] = read4(z_nd, row + v * SMALL_THREADS, n, q * 4, depth);
            most = max(most, size_bits4(z[v][q]));
        }
    }
    for (int code = begin; code < end; code += PASSING) {
        __syncthreads();  // all have done with the codes before
        for (int i = threadIdx.x; i < PASSING * DEPTH / 4; i += SMALL_THREADS) {
            int of = i / (DEPTH / 4), q = i % (DEPTH / 4);
            passing[of][q] = read4(codes_md, code + of, m, q * 4, depth);
            if (q == 0) starts[of] = code + of < m ? start_m[code + of] : -INFINITE;
        }
        __syncthreads();
        for (int of = 0; of < min(PASSING, end - code); of += GROUP) {
            float score[VECTORS][GROUP];
#pragma unroll
            for (int g = 0; g < GROUP; ++g)
#pragma unroll
                for (int v = 0; v < VECTORS; ++v) {
                    score[v][g] = starts[of + g];
#pragma unroll
                    for (int q = 0; q < DEPTH / 4; ++q)
                        score[v][g] = dot4(z[v][q], passing[of + g][q], score[v][g]);
                }
#pragma unroll
            for (int v = 0; v < VECTORS; ++v) {
                float top = fmaxf(fmaxf(score[v][0], score[v][1]),
                                  fmaxf(score[v][2], score[v][3]));
                if (top > best[v]) {
                    best[v] = top;
                    for (int g = GROUP - 1; g >= 0; g--)  // the first that is the top
                        if (score[v][g] == top) nearest[v] = code + of + g;
                }
            }
        }
    }
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        int mine = row + v * SMALL_THREADS;
        if (mine < n) atomicMax(&words_n[mine], word_of(best[v], nearest[v]));
    }
    refuse_above(most, *top_2, limit, depth, flag_1);
}

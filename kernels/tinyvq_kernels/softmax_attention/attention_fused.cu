// Attention and its gradient without scores in memory (float): what each kernel makes
// is in `attention.cu`.
//
// Rung 2, fused. A block of 16×8 threads takes 32 rows, which are queries, and walks
// over the keys, 64 at a time: a tile of 32×64 scores is made, turned into weights and
// used while it is in registers and shared memory, and never goes to memory. So memory
// is asked for q, k and v, and nothing that grows with T·S (Dao et al.,
// "FlashAttention", arXiv:2205.14135). What walks need of matrices passes through
// shared memory as panels of 32 values or 32 keys; a thread keeps 4×4 scores, rows y,
// y + 8, ... and columns x, x + 16, ..., and takes 4 values from shared memory at once:
// 8 such loads for 64 products. Tiles that no query of a block sees are left out.
//
// The order in which a row's sums are added depends on its own keys, or queries, alone:
// not on the rows beside it, for what is hidden adds 0. There are no atomics.
//
// By macro: WIDE, 32, 64 or 128: as wide as what is mixed, E or F, may be.

#define ALL_LANES 0xffffffffu
#define INFINITE __int_as_float(0x7f800000)

constexpr int LANES = 16, LINES = 8, THREADS = LANES * LINES;
constexpr int EACH = 4;                                  // rows and columns a thread
constexpr int ROWS = LINES * EACH, COLUMNS = LANES * EACH;  // of a tile
constexpr int DEPTH = 32;        // products between two barriers
constexpr int STEP = DEPTH + 4;  // from row to row of a panel, in other banks
constexpr int NEXT = COLUMNS + 4;  // the same of a tile of weights
constexpr int OWN = WIDE / LANES;                        // columns of a result a thread
constexpr int RUN = OWN < 4 ? OWN : 4;                   // of those side by side
constexpr int INNER = (ROWS + COLUMNS) * STEP, OUTER = DEPTH * WIDE;
constexpr int PANELS = INNER > OUTER ? INNER : OUTER;

// A matrix of `size` rows of `width` values, row by row.
struct Matrix {
    const float *at;
    int size, width;
};

// That of an item.
__device__ __forceinline__ Matrix matrix_of(const float *all, int item, int size,
                                            int width) {
    return {all + (size_t)item * size * width, size, width};
}

__device__ __forceinline__ float4 load4(const float *from) {
    return *reinterpret_cast<const float4 *>(from);
}

// Four neighbours of a row, zeros beyond the edges.
__device__ __forceinline__ float4 four_of(Matrix a, int row, int column) {
    const float *from = a.at + (row * a.width + column);
    float4 four = make_float4(0, 0, 0, 0);
    if (row >= a.size) return four;
    if (column < a.width) four.x = from[0];
    if (column + 1 < a.width) four.y = from[1];
    if (column + 2 < a.width) four.z = from[2];
    if (column + 3 < a.width) four.w = from[3];
    return four;
}

// The same at once, where rows begin at multiples of 16 bytes.
__device__ __forceinline__ float4 aligned_four_of(Matrix a, int row, int column) {
    if (row >= a.size || column >= a.width) return make_float4(0, 0, 0, 0);
    return load4(a.at + (row * a.width + column));
}

// Fill `rows` rows of `columns` values of a panel from (row, column) of a matrix. Up to
// four loads a thread are under way before the first is waited for and stored.
__device__ __forceinline__ void fill(float *panel, int step, int rows, int columns,
                                     Matrix a, int row, int column) {
    int thread = LANES * threadIdx.y + threadIdx.x, across = columns / 4;
    int count = rows * across / THREADS;  // of fours, for each thread
    bool aligned = a.width % 4 == 0;
#pragma unroll
    for (int first = 0; first < count; first += 4) {
        float4 fours[4];
#pragma unroll
        for (int n = first; n < min(first + 4, count); ++n) {
            int at = thread + n * THREADS, r = row + at / across;
            int c = column + at % across * 4;
            fours[n - first] = aligned ? aligned_four_of(a, r, c) : four_of(a, r, c);
        }
#pragma unroll
        for (int n = first; n < min(first + 4, count); ++n) {
            int at = thread + n * THREADS, to = at / across * step + at % across * 4;
            *reinterpret_cast<float4 *>(&panel[to]) = fours[n - first];
        }
    }
}

// A tile of a bᵀ: rows from a_row, columns from b_row. No barrier behind the last use.
__device__ __forceinline__ void multiply(float (*tile)[EACH], float *panels, Matrix a,
                                         int a_row, Matrix b, int b_row) {
    float *a_rl = panels, *b_cl = panels + ROWS * STEP;
#pragma unroll
    for (int i = 0; i < EACH; ++i)
#pragma unroll
        for (int j = 0; j < EACH; ++j) tile[i][j] = 0;
    for (int first = 0; first < a.width; first += DEPTH) {
        __syncthreads();  // nobody needs what was in the panels
        fill(a_rl, STEP, ROWS, DEPTH, a, a_row, first);
        fill(b_cl, STEP, COLUMNS, DEPTH, b, b_row, first);
        __syncthreads();  // the panels are whole
#pragma unroll 1
        for (int l = 0; l < DEPTH; l += 4) {
            float4 columns[EACH];
#pragma unroll
            for (int j = 0; j < EACH; ++j)
                columns[j] = load4(&b_cl[(threadIdx.x + LANES * j) * STEP + l]);
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                float4 row = load4(&a_rl[(threadIdx.y + LINES * i) * STEP + l]);
#pragma unroll
                for (int j = 0; j < EACH; ++j) {
                    float sum = fmaf(row.x, columns[j].x, tile[i][j]);
                    sum = fmaf(row.y, columns[j].y, sum);
                    sum = fmaf(row.z, columns[j].z, sum);
                    tile[i][j] = fmaf(row.w, columns[j].w, sum);
                }
            }
        }
    }
}

// The column of a result that is a thread's c-th: runs of neighbours.
__device__ __forceinline__ int own_column(int c) {
    return c / RUN * (LANES * RUN) + RUN * threadIdx.x + c % RUN;
}

__device__ __forceinline__ void load_own(float *own, const float *row) {
#if WIDE == 32
    float2 two = *reinterpret_cast<const float2 *>(&row[own_column(0)]);
    own[0] = two.x, own[1] = two.y;
#else
#pragma unroll
    for (int c = 0; c < OWN; c += 4) {
        float4 four = load4(&row[own_column(c)]);
        own[c] = four.x, own[c + 1] = four.y, own[c + 2] = four.z, own[c + 3] = four.w;
    }
#endif
}

// Add w b to a result: w (ROWS, COLUMNS), b from b_row on, of which `count` rows count.
__device__ __forceinline__ void mix(float (*sums)[OWN], const float *w_rc,
                                    float *b_cf, Matrix b, int b_row, int count) {
    for (int first = 0; first < min(count, COLUMNS); first += DEPTH) {
        __syncthreads();  // w is whole, and nobody needs what was in the panel
        fill(b_cf, WIDE, DEPTH, WIDE, b, b_row + first, 0);
        __syncthreads();  // the panel is whole
#pragma unroll 2
        for (int c = 0; c < DEPTH; c += 4) {
            float values[4][OWN];
#pragma unroll
            for (int m = 0; m < 4; ++m) load_own(values[m], &b_cf[(c + m) * WIDE]);
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                float4 w = load4(&w_rc[(threadIdx.y + LINES * i) * NEXT + first + c]);
#pragma unroll
                for (int o = 0; o < OWN; ++o) {
                    float sum = fmaf(w.x, values[0][o], sums[i][o]);
                    sum = fmaf(w.y, values[1][o], sum);
                    sum = fmaf(w.z, values[2][o], sum);
                    sums[i][o] = fmaf(w.w, values[3][o], sum);
                }
            }
        }
    }
}

// Write a result, from a row on, times a factor.
__device__ __forceinline__ void write(float *y_rf, int first, int size, int width,
                                      float (*sums)[OWN], float factor) {
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        int row = first + threadIdx.y + LINES * i;
#pragma unroll
        for (int o = 0; o < OWN; ++o)
            if (row < size && own_column(o) < width)
                y_rf[(size_t)row * width + own_column(o)] = sums[i][o] * factor;
    }
}

// How many keys a query sees.
__device__ __forceinline__ int seen_by(int t, int t_size, int s_size, int causal) {
    return causal ? min(s_size, s_size - t_size + t + 1) : s_size;
}

// ---- forward ------------------------------------------------------------------------
//
// Σ e^s v and Σ e^s are kept for the largest score so far; where a tile has a larger
// one, both shrink by e^(old - new) first. Blocks with most keys to see begin first.

extern "C" __global__ void __launch_bounds__(THREADS, 4) attention_fused(
    const float *q_bte, const float *k_bse, const float *v_bsf, float *y_btf,
    float *lse_bt, float scale, int items, int t_size, int s_size, int e, int f,
    int causal) {
    __shared__ __align__(16) float panels[PANELS], w_rc[ROWS * NEXT];
    int item = blockIdx.x % items;
    int t_first = (gridDim.x / items - 1 - blockIdx.x / items) * ROWS;
    Matrix q = matrix_of(q_bte, item, t_size, e), k = matrix_of(k_bse, item, s_size, e);
    Matrix v = matrix_of(v_bsf, item, s_size, f);
    float tile[EACH][EACH], sums[EACH][OWN] = {}, top[EACH], total[EACH] = {};
#pragma unroll
    for (int i = 0; i < EACH; ++i) top[i] = -INFINITE;
    int last = seen_by(t_first + ROWS - 1, t_size, s_size, causal);
    for (int s_first = 0; s_first < last; s_first += COLUMNS) {
        multiply(tile, panels, q, t_first, k, s_first);
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            int r = threadIdx.y + LINES * i, seen;
            seen = seen_by(t_first + r, t_size, s_size, causal) - s_first;
            float best = top[i];
#pragma unroll
            for (int j = 0; j < EACH; ++j) {
                int c = threadIdx.x + LANES * j;
                tile[i][j] = c < seen ? tile[i][j] * scale : -INFINITE;
                best = max(best, tile[i][j]);
            }
#pragma unroll
            for (int step = LANES / 2; step > 0; step /= 2)
                best = max(best, __shfl_xor_sync(ALL_LANES, best, step));
            float shrink = expf(top[i] - best);
            top[i] = best;
            total[i] *= shrink;
#pragma unroll
            for (int o = 0; o < OWN; ++o) sums[i][o] *= shrink;
#pragma unroll
            for (int j = 0; j < EACH; ++j) {
                float w = expf(tile[i][j] - best);
                total[i] += w;
                w_rc[r * NEXT + threadIdx.x + LANES * j] = w;
            }
        }
        mix(sums, w_rc, panels, v, s_first, last - s_first);
    }
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        int t = t_first + threadIdx.y + LINES * i;
#pragma unroll
        for (int step = LANES / 2; step > 0; step /= 2)
            total[i] += __shfl_xor_sync(ALL_LANES, total[i], step);
        if (t < t_size && threadIdx.x == 0)
            lse_bt[(size_t)item * t_size + t] = top[i] + logf(total[i]);
#pragma unroll
        for (int o = 0; o < OWN; ++o) sums[i][o] /= total[i];
    }
    write(y_btf + (size_t)item * t_size * f, t_first, t_size, f, sums, 1);
}

// ---- gradient of queries -------------------------------------------------------------
//
// The block walks over its keys twice: up, for Σ gp p of each row, and down, for gs and
// gs k. The last tile of the way up is the first of the way down, and is not made again.
// gp is shifted to 0 at the largest p: at the largest so far of a thread's own columns,
// then at that of all lanes. `shift` and `inner` are left for the gradient of keys.

// What a thread, or several, know of a row: the largest p, the gp beside it, Σ p, and
// Σ p (gp - at_best).
struct Row {
    float best, at_best, total, inner;
};

__device__ __forceinline__ void add(Row &row, float p, float gp) {
    if (p > row.best || (p == row.best && gp > row.at_best)) {
        row.inner += (row.at_best - gp) * row.total;
        row.best = p, row.at_best = gp;
    }
    row.inner += p * (gp - row.at_best);
    row.total += p;
}

// Put together what the lanes of each row know: the same bits for all.
__device__ __forceinline__ void join(Row *rows) {
#pragma unroll
    for (int i = 0; i < EACH; ++i)
#pragma unroll
        for (int step = LANES / 2; step > 0; step /= 2) {
            Row a = rows[i], b;
            b.best = __shfl_xor_sync(ALL_LANES, a.best, step);
            b.at_best = __shfl_xor_sync(ALL_LANES, a.at_best, step);
            b.total = __shfl_xor_sync(ALL_LANES, a.total, step);
            b.inner = __shfl_xor_sync(ALL_LANES, a.inner, step);
            bool less = b.best > a.best || (b.best == a.best && b.at_best > a.at_best);
            float moves = less ? a.at_best - b.at_best : b.at_best - a.at_best;
            rows[i].inner = a.inner + b.inner + moves * (less ? a.total : b.total);
            rows[i].total = a.total + b.total;
            if (less) rows[i].best = b.best, rows[i].at_best = b.at_best;
        }
}

extern "C" __global__ void __launch_bounds__(THREADS, 3) attention_grad_queries(
    const float *q_bte, const float *k_bse, const float *v_bsf, const float *lse_bt,
    const float *gy_btf, float *gq_bte, float *shift_bt, float *inner_bt, float scale,
    int items, int t_size, int s_size, int e, int f, int causal) {
    __shared__ __align__(16) float panels[PANELS], w_rc[ROWS * NEXT];
    int item = blockIdx.x % items;
    int t_first = (gridDim.x / items - 1 - blockIdx.x / items) * ROWS;
    Matrix q = matrix_of(q_bte, item, t_size, e), k = matrix_of(k_bse, item, s_size, e);
    Matrix v = matrix_of(v_bsf, item, s_size, f);
    Matrix gy = matrix_of(gy_btf, item, t_size, f);
    float p[EACH][EACH], gp[EACH][EACH], lse[EACH], sums[EACH][OWN] = {};
    int seen[EACH];
    Row rows[EACH];
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        int t = t_first + threadIdx.y + LINES * i;
        lse[i] = t < t_size ? lse_bt[(size_t)item * t_size + t] : 0;
        seen[i] = seen_by(t, t_size, s_size, causal);
        rows[i] = {-1, 0, 0, 0};
    }
    int last = seen_by(t_first + ROWS - 1, t_size, s_size, causal);
    int tiles = (last + COLUMNS - 1) / COLUMNS;
    for (int walk = 0; walk < 2 * tiles; ++walk) {
        int s_first = (walk < tiles ? walk : 2 * tiles - 1 - walk) * COLUMNS;
        if (walk == tiles) {
            join(rows);
        } else {
            multiply(p, panels, q, t_first, k, s_first);
            multiply(gp, panels, gy, t_first, v, s_first);
        }
#pragma unroll
        for (int i = 0; i < EACH; ++i)
#pragma unroll
            for (int j = 0; j < EACH; ++j) {
                int r = threadIdx.y + LINES * i, c = threadIdx.x + LANES * j;
                bool sees = s_first + c < seen[i];
                if (walk != tiles) p[i][j] = expf(p[i][j] * scale - lse[i]);
                if (walk < tiles && sees) add(rows[i], p[i][j], gp[i][j]);
                float gs = p[i][j] * (gp[i][j] - rows[i].at_best - rows[i].inner);
                if (walk >= tiles) w_rc[r * NEXT + c] = sees ? gs : 0;
            }
        if (walk >= tiles) mix(sums, w_rc, panels, k, s_first, last - s_first);
    }
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        int t = t_first + threadIdx.y + LINES * i;
        if (t >= t_size || threadIdx.x > 0) continue;
        shift_bt[(size_t)item * t_size + t] = rows[i].at_best;
        inner_bt[(size_t)item * t_size + t] = rows[i].inner;
    }
    write(gq_bte + (size_t)item * t_size * e, t_first, t_size, e, sums, scale);
}

// ---- gradient of keys and values -----------------------------------------------------
//
// The rows of a block are keys, and it walks over the queries, from the first that sees
// one of them. The weights of a tile are mixed with gy, then gs with q.

extern "C" __global__ void __launch_bounds__(THREADS, 3) attention_grad_keys(
    const float *q_bte, const float *k_bse, const float *v_bsf, const float *lse_bt,
    const float *gy_btf, const float *shift_bt, const float *inner_bt, float *gk_bse,
    float *gv_bsf, float scale, int items, int t_size, int s_size, int e, int f,
    int causal) {
    __shared__ __align__(16) float panels[PANELS], w_rc[ROWS * NEXT];
    int item = blockIdx.x % items, s_first = blockIdx.x / items * ROWS;
    Matrix q = matrix_of(q_bte, item, t_size, e), k = matrix_of(k_bse, item, s_size, e);
    Matrix v = matrix_of(v_bsf, item, s_size, f);
    Matrix gy = matrix_of(gy_btf, item, t_size, f);
    float p[EACH][EACH], gs[EACH][EACH];
    float sums_k[EACH][OWN] = {}, sums_v[EACH][OWN] = {};
    int t_first = causal ? max(0, s_first - (s_size - t_size)) : 0;
    for (; t_first < t_size; t_first += COLUMNS) {
        multiply(p, panels, k, s_first, q, t_first);
        multiply(gs, panels, v, s_first, gy, t_first);  // gp as yet
#pragma unroll
        for (int j = 0; j < EACH; ++j) {
            int c = threadIdx.x + LANES * j, t = t_first + c;
            size_t at = (size_t)item * t_size + t;
            int seen = t < t_size ? seen_by(t, t_size, s_size, causal) : 0;
            float lse = t < t_size ? lse_bt[at] : 0;
            float shift = t < t_size ? shift_bt[at] : 0;
            float inner = t < t_size ? inner_bt[at] : 0;
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                int r = threadIdx.y + LINES * i;
                bool sees = s_first + r < seen;
                p[i][j] = sees ? expf(p[i][j] * scale - lse) : 0;
                gs[i][j] = sees ? p[i][j] * (gs[i][j] - shift - inner) : 0;
                w_rc[r * NEXT + c] = p[i][j];
            }
        }
        mix(sums_v, w_rc, panels, gy, t_first, t_size - t_first);
        __syncthreads();  // the weights have been used
#pragma unroll
        for (int i = 0; i < EACH; ++i)
#pragma unroll
            for (int j = 0; j < EACH; ++j)
                w_rc[(threadIdx.y + LINES * i) * NEXT + threadIdx.x + LANES * j] =
                    gs[i][j];
        mix(sums_k, w_rc, panels, q, t_first, t_size - t_first);
    }
    write(gk_bse + (size_t)item * s_size * e, s_first, s_size, e, sums_k, scale);
    write(gv_bsf + (size_t)item * s_size * f, s_first, s_size, f, sums_v, 1);
}

// Attention and its gradient, with all scores in memory: a step a kernel.
//
//     s = scale q kᵀ,  lse = log Σ e^s,  p = e^(s - lse),  y = p v
//     gv = pᵀ gy,  gp = gy vᵀ,  gs = p · (gp - Σ gp p),  gq = scale gs k,
//     gk = scale gsᵀ q
//
// for each item: q (T,E), k (S,E), v (S,F), s (T,S). Where `causal`, query t sees the
// keys up to S - T + t; of the others p and gs are 0.
//
// By macro: REAL, float or double; FMA, EXP and LOG, its functions.
//
// Rung 1, plain. What is between two steps goes to memory and comes back: T·S scores,
// which are made, turned into weights, and used; in the gradient twice as many. Each
// element is a thread, that reads its row and its column.

#define ALL_LANES 0xffffffffu
#define INFINITE ((REAL)__int_as_float(0x7f800000))

// How many keys a query sees.
__device__ __forceinline__ int seen_by(int t, int t_size, int s_size, int causal) {
    return causal ? s_size - t_size + t + 1 : s_size;
}

// What a warp's lanes have, added up or compared: in a tree, the same for all lanes.
__device__ __forceinline__ REAL sum_of_lanes(REAL value) {
    for (int step = 16; step > 0; step /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
}

__device__ __forceinline__ REAL largest_of_lanes(REAL value) {
    for (int step = 16; step > 0; step /= 2)
        value = max(value, __shfl_xor_sync(ALL_LANES, value, step));
    return value;
}

// ---- products: an element a thread, neighbours of a row in a warp --------------------

// scale a bᵀ: s or gp of all pairs, the hidden ones as well.
extern "C" __global__ void score_plain(
    const REAL *a_btl, const REAL *b_bsl, REAL *scores_bts, REAL scale, int t_size,
    int s_size, int l_size) {
    int across = (s_size + 31) / 32, down = (t_size + 7) / 8;
    int item = blockIdx.x / (across * down), tile = blockIdx.x % (across * down);
    int t = tile / across * 8 + threadIdx.y, s = tile % across * 32 + threadIdx.x;
    if (t >= t_size || s >= s_size) return;
    const REAL *a_l = a_btl + ((size_t)item * t_size + t) * l_size;
    const REAL *b_l = b_bsl + ((size_t)item * s_size + s) * l_size;
    REAL sum = 0;
    for (int l = 0; l < l_size; ++l) sum = FMA(a_l[l], b_l[l], sum);
    scores_bts[((size_t)item * t_size + t) * s_size + s] = scale * sum;
}

// scale w b: w (T,S) stands row by row, or, where `turned`, as its transpose (S,T).
extern "C" __global__ void mix_plain(
    const REAL *w_bts, const REAL *b_bsf, REAL *y_btf, REAL scale, int t_size,
    int s_size, int f_size, int turned) {
    int across = (f_size + 31) / 32, down = (t_size + 7) / 8;
    int item = blockIdx.x / (across * down), tile = blockIdx.x % (across * down);
    int t = tile / across * 8 + threadIdx.y, f = tile % across * 32 + threadIdx.x;
    if (t >= t_size || f >= f_size) return;
    const REAL *w_s = w_bts + (size_t)item * t_size * s_size;
    w_s += turned ? t : (size_t)t * s_size;
    const REAL *b_s = b_bsf + (size_t)item * s_size * f_size + f;
    REAL sum = 0;
    for (int s = 0; s < s_size; ++s)
        sum = FMA(w_s[turned ? (size_t)s * t_size : s], b_s[(size_t)s * f_size], sum);
    y_btf[((size_t)item * t_size + t) * f_size + f] = scale * sum;
}

// ---- rows: a query a warp, which writes its results over what it read ----------------

// Scores into weights, and their lse. From the largest down, so that none overflows.
extern "C" __global__ void soften_plain(
    REAL *p_bts, REAL *lse_bt, int rows, int t_size, int s_size, int causal) {
    int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
    if (row >= rows) return;
    REAL *p_s = p_bts + (size_t)row * s_size;
    int seen = seen_by(row % t_size, t_size, s_size, causal);
    REAL top = -INFINITE, total = 0;
    for (int s = lane; s < seen; s += 32) top = max(top, p_s[s]);
    top = largest_of_lanes(top);
    for (int s = lane; s < s_size; s += 32) {
        p_s[s] = s < seen ? EXP(p_s[s] - top) : (REAL)0;
        total += p_s[s];
    }
    total = sum_of_lanes(total);
    for (int s = lane; s < seen; s += 32) p_s[s] /= total;
    if (lane == 0) lse_bt[row] = top + LOG(total);
}

// Scores into weights by their lse, and gp into gs. gp is shifted to 0 where p is
// largest; of several such places, to the largest gp, as lanes meet in any order.
extern "C" __global__ void pull_plain(
    REAL *p_bts, REAL *gs_bts, const REAL *lse_bt, int rows, int t_size, int s_size,
    int causal) {
    int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
    if (row >= rows) return;
    REAL *p_s = p_bts + (size_t)row * s_size, *gs_s = gs_bts + (size_t)row * s_size;
    int seen = seen_by(row % t_size, t_size, s_size, causal);
    REAL best = -1, shift = -INFINITE, inner = 0;
    for (int s = lane; s < s_size; s += 32) {
        p_s[s] = s < seen ? EXP(p_s[s] - lse_bt[row]) : (REAL)0;
        if (s < seen) best = max(best, p_s[s]);
    }
    best = largest_of_lanes(best);
    for (int s = lane; s < seen; s += 32)
        if (p_s[s] == best) shift = max(shift, gs_s[s]);
    shift = largest_of_lanes(shift);
    for (int s = lane; s < seen; s += 32) inner += (gs_s[s] - shift) * p_s[s];
    inner = sum_of_lanes(inner);
    for (int s = lane; s < s_size; s += 32)
        gs_s[s] = s < seen ? p_s[s] * (gs_s[s] - shift - inner) : (REAL)0;
}

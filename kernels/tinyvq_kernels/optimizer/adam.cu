// Adam on a GPU, in place: see __init__.py for the formulas.
//
// By macro: REAL and SQRT, float and sqrtf or double and sqrt.
//
// factors_6 are β₁, 1-β₁, β₂, 1-β₂, ε, 1 - lr·λ, rounded once from float64.

__device__ __forceinline__ void update(
    REAL *p, const REAL *g, REAL *m, REAL *v, const REAL *factors_6, REAL rate,
    REAL root) {
    *m = factors_6[0] * *m + factors_6[1] * *g;
    *v = factors_6[2] * *v + factors_6[3] * *g * *g;
    *p = factors_6[5] * *p - rate * *m / (root * SQRT(*v) + factors_6[4]);
}

// Rung 1, plain: a launch per parameter, a thread per value. A network has dozens of
// parameters, most of them small: a launch takes longer than what it does.
extern "C" __global__ void adam_plain(
    REAL *p_n, const REAL *g_n, REAL *m_n, REAL *v_n, const REAL *factors_6,
    const REAL *rate_1, const REAL *root_1, long long n) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) update(p_n + i, g_n + i, m_n + i, v_n + i, factors_6, *rate_1, *root_1);
}

// Rung 2, fused: one launch for all. Block b updates PIECE values of a parameter: which
// one, and from where on, is in a table, and so are the addresses of all arrays.
constexpr int PIECE = 1024;

extern "C" __global__ void adam_fused(
    const long long *addresses_4k, const long long *sizes_k, const int *owners_b,
    const long long *firsts_b, const REAL *rates_k, const REAL *roots_k,
    const REAL *factors_6, int parameters) {
    int owner = owners_b[blockIdx.x];
    REAL *p_n = (REAL *)addresses_4k[owner];
    const REAL *g_n = (const REAL *)addresses_4k[parameters + owner];
    REAL *m_n = (REAL *)addresses_4k[2 * parameters + owner];
    REAL *v_n = (REAL *)addresses_4k[3 * parameters + owner];
    long long first = firsts_b[blockIdx.x];
    long long last = min(first + PIECE, sizes_k[owner]);
    for (long long i = first + threadIdx.x; i < last; i += blockDim.x)
        update(p_n + i, g_n + i, m_n + i, v_n + i, factors_6, rates_k[owner],
               roots_k[owner]);
}

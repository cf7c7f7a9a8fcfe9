// Functions of single values, and their gradients: a value or four a thread.
//
//     y = max(x, 0)          gx = gy where y > 0, else 0
//     y = x σ(x)             gx = gy σ(x) (1 + x (1 - σ(x))),   σ(x) = 1 / (1 + e⁻ˣ)
//
// REAL is float or double. Nothing is shared, so memory is the whole cost: 8 bytes a
// float for a function, 12 for a gradient.

__device__ __forceinline__ REAL relu(REAL x) {
    return x < (REAL)0 ? (REAL)0 : x;  // NaN is not below 0
}

__device__ __forceinline__ REAL relu_grad(REAL y, REAL gy) {
    return y > (REAL)0 ? gy : (REAL)0;
}

__device__ __forceinline__ REAL logistic(REAL x) {
    return (REAL)1 / ((REAL)1 + EXP(-x));  // where e⁻ˣ overflows, σ is 0
}

__device__ __forceinline__ REAL silu(REAL x) { return x * logistic(x); }

__device__ __forceinline__ REAL silu_grad(REAL x, REAL gy) {
    REAL s = logistic(x);
    return gy * s * ((REAL)1 + x * ((REAL)1 - s));
}

// ---- plain: a value per thread --------------------------------------------------------
// Neighbouring threads take neighbouring values, so a warp's 32 loads are one run of
// 128 bytes.

extern "C" __global__ void value_plain(const REAL *x_n, REAL *y_n, long long n) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y_n[i] = VALUE(x_n[i]);
}

extern "C" __global__ void gradient_plain(const REAL *x_n, const REAL *gy_n, REAL *gx_n,
                                          long long n) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) gx_n[i] = GRADIENT(x_n[i], gy_n[i]);
}

// ---- vectorised: four values per thread (float) ---------------------------------------
// One instruction loads 16 bytes. So a quarter of the instructions and of the address
// arithmetic, and more bytes under way for each warp: that is what hides memory's
// latency. The last n mod 4 values are left to the first threads.

#ifdef REAL4

extern "C" __global__ void value_vectorised(const REAL *x_n, REAL *y_n, long long n) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    long long fours = n / 4;
    if (i < fours) {
        REAL4 x = reinterpret_cast<const REAL4 *>(x_n)[i], y;
        y.x = VALUE(x.x);
        y.y = VALUE(x.y);
        y.z = VALUE(x.z);
        y.w = VALUE(x.w);
        reinterpret_cast<REAL4 *>(y_n)[i] = y;
    }
    long long tail = 4 * fours + i;
    if (tail < n) y_n[tail] = VALUE(x_n[tail]);
}

extern "C" __global__ void gradient_vectorised(const REAL *x_n, const REAL *gy_n,
                                               REAL *gx_n, long long n) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    long long fours = n / 4;
    if (i < fours) {
        REAL4 x = reinterpret_cast<const REAL4 *>(x_n)[i];
        REAL4 gy = reinterpret_cast<const REAL4 *>(gy_n)[i], gx;
        gx.x = GRADIENT(x.x, gy.x);
        gx.y = GRADIENT(x.y, gy.y);
        gx.z = GRADIENT(x.z, gy.z);
        gx.w = GRADIENT(x.w, gy.w);
        reinterpret_cast<REAL4 *>(gx_n)[i] = gx;
    }
    long long tail = 4 * fours + i;
    if (tail < n) gx_n[tail] = GRADIENT(x_n[tail], gy_n[tail]);
}

#endif

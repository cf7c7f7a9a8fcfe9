// Running means of a codebook on a GPU, in place: see __init__.py for the formulas.
//
// By macro, float or double: REAL, of the sums and codes, and MEAN, of the means.
//
// Each operation is done in the type in which NumPy does it, and rounded as there, so
// the bits are the same: decay takes the type of what it multiplies, counts are
// integers and count as double, and a sum of two types is made in the larger.

// Fused: one launch, a code per warp. Array by array it took fourteen on an H200, of one
// to three µs each, whatever there was to do.
extern "C" __global__ void running_means_fused(
    const REAL *sums_md, const long long *counts_m, MEAN *size_m, MEAN *total_md,
    MEAN *average_1, REAL *codes_md, double mean, double decay, int moves, int m,
    int depth) {
    int code = blockIdx.x * blockDim.y + threadIdx.y;
    double take = 1 - decay;
    long long count = 0;
    MEAN size = 0;
    if (code < m) {
        count = counts_m[code];
        size = (MEAN)((MEAN)decay * size_m[code] + take * (double)count);
    }
    __syncthreads();  // all lanes have read the old size
    if (code >= m) return;
    if (threadIdx.x == 0) size_m[code] = size;
    if (threadIdx.x == 0 && code == 0)
        *average_1 = (MEAN)decay * *average_1 + (MEAN)(take * mean);
    for (int d = threadIdx.x; d < depth; d += blockDim.x) {
        size_t at = (size_t)code * depth + d;
        MEAN total = (MEAN)((MEAN)decay * total_md[at] + (REAL)take * sums_md[at]);
        total_md[at] = total;
        if (moves && count > 0) codes_md[at] = (REAL)(total / size);
    }
}

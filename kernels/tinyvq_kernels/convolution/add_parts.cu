// Partial sums (parts, size) added up, float32: what the convolutions end with whose
// inner index was cut into parts.

// A thread a value: the parts (parts, size) in their order, then the bias.
extern "C" __global__ void add_parts(
    const float *parts_of, const float *bias, float *sums, int has_bias, int parts,
    long long size, int channels) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= size) return;
    float sum = parts_of[at];
    for (int part = 1; part < parts; ++part) sum += parts_of[part * size + at];
    sums[at] = has_bias ? sum + bias[at % channels] : sum;
}

// The same in two levels, for many parts of few values: one thread a value would wait
// for hundreds of reads, a few at a time, while most of the device has nothing to do. A
// block has 32 neighbouring values, and SHARES threads for each, which add a share of
// the parts; then the shares are added in their order.
constexpr int SHARES = 32;

extern "C" __global__ void __launch_bounds__(32 * SHARES) add_many_parts(
    const float *parts_of, float *sums, int parts, long long size) {
    __shared__ float shares[SHARES][32];
    int x = threadIdx.x, share = threadIdx.y;
    long long at = (long long)blockIdx.x * 32 + x;
    int begin = parts * share / SHARES, end = parts * (share + 1) / SHARES;
    float sum = 0;
    if (at < size)
#pragma unroll 8
        for (int part = begin; part < end; ++part) sum += parts_of[part * size + at];
    shares[share][x] = sum;
    __syncthreads();
    if (share > 0 || at >= size) return;
#pragma unroll
    for (int i = 1; i < SHARES; ++i) sum += shares[i][x];
    sums[at] = sum;
}

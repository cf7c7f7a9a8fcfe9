// Sums over the pixels of all images: x (L,C) -> y (C), y[c] = Σ_l x[l,c]; where images
// begin does not matter.
//
// Channels are neighbours in memory, so neighbouring threads take neighbouring
// channels. REAL is float or double. The order of a sum is fixed by the shape alone.

// ---- plain: a sum a thread ----------------------------------------------------------
// In order, l = 0 .. L-1. There are few threads, C of them, each with a long walk.

extern "C" __global__ void pixel_sums_plain(const REAL *x_lc, REAL *y_c,
                                            long long l_size, int c_size) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= c_size) return;
    REAL sum = 0;
    for (long long l = 0; l < l_size; ++l) sum += x_lc[l * c_size + c];
    y_c[c] = sum;
}

// ---- tree: a block for 8 sums -------------------------------------------------------
// PARTS threads a sum: each adds every PARTS-th pixel. Then the parts are added in
// shared memory as a tree, half of them to the other half, until one is left: PARTS
// times the threads at work, and sums that are shorter and so closer.
//
// 8 floats are 32 bytes, the least that is fetched from memory: a block of more
// channels would wait for more bytes, one of fewer would throw some away. Up to a few
// thousand pixels nothing is faster: what takes two launches pays 1.2 µs for the second.

#define CHANNELS 8
#define PARTS 128

extern "C" __global__ void __launch_bounds__(CHANNELS *PARTS)
    pixel_sums_tree(const REAL *x_lc, REAL *y_c, long long l_size, int c_size) {
    __shared__ REAL parts[PARTS][CHANNELS];
    int c = blockIdx.x * CHANNELS + threadIdx.x, part = threadIdx.y;
    REAL sum = 0;
    if (c < c_size) {
#pragma unroll 8
        for (long long l = part; l < l_size; l += PARTS) sum += x_lc[l * c_size + c];
    }
    parts[part][threadIdx.x] = sum;
    __syncthreads();
    for (int half = PARTS / 2; half > 0; half /= 2) {
        if (part < half) parts[part][threadIdx.x] += parts[part + half][threadIdx.x];
        __syncthreads();
    }
    if (part == 0 && c < c_size) y_c[c] = parts[0][threadIdx.x];
}

// ---- spread: many blocks a sum ------------------------------------------------------
// 64 channels are 8 blocks for the tree, on a device that runs a hundred at a time. So
// pixels are shared out to blocks, whose sums, a row of C a block, the tree then adds.
//
// A block sees x as lines of `width` values, as many whole pixels as are at most 128,
// so that all lanes of a warp have work whether a pixel has 3 channels or 64: lane i
// adds columns 4i .. 4i+3, of float at 16-byte addresses (ALIGNED) four at a time, and
// warp w every WARPS-th line of the block's `lines`. Then the warps' sums of a column
// are added, and a channel's columns. On an H200 the fifteen biases of a step over 256
// images took 8 µs each where a tree added each image, and CuPy the images.

#define LANES 32
#define WARPS 8
#define COLUMNS (4 * LANES)

#define AT_ONCE 8  // lines that a warp asks for before the first is there

// Read four neighbours; in the place of one that is beyond the end, the first of all.
// To read on a condition keeps the compiler from asking for all before it waits.
__device__ __forceinline__ void read_four(REAL (&four)[4], const REAL *x_i, int at,
                                          int end) {
#if ALIGNED
    float4 x = *reinterpret_cast<const float4 *>(x_i + (at < end ? at : 0));
    four[0] = x.x, four[1] = x.y, four[2] = x.z, four[3] = x.w;
#else
#pragma unroll
    for (int i = 0; i < 4; ++i) four[i] = x_i[at + i < end ? at + i : 0];
#endif
}

extern "C" __global__ void __launch_bounds__(LANES *WARPS, 2)
    pixel_sums_spread(const REAL *x_n, REAL *parts_bc, long long n, int c_size,
                      int width, int lines) {
    __shared__ REAL columns[WARPS][COLUMNS];
    int t = threadIdx.x, lane = t % LANES, warp = t / LANES;
    int first = blockIdx.y * COLUMNS, column = first + 4 * lane;
    long long begin = (long long)blockIdx.x * lines * width;
    const REAL *x_i = x_n + begin;  // the block's lines
    int end = column < width ? (int)min((long long)lines * width, n - begin) : 0;
    REAL sums[4] = {0, 0, 0, 0};
    for (int l = warp; l < lines; l += AT_ONCE * WARPS) {
        REAL fours[AT_ONCE][4];
        int at = l * width + column, step = WARPS * width;
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) read_four(fours[i], x_i, at + i * step, end);
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j)
                sums[j] += at + i * step + j < end ? fours[i][j] : (REAL)0;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) columns[warp][4 * lane + i] = sums[i];
    __syncthreads();
    if (t < COLUMNS)
        for (int other = 1; other < WARPS; ++other) columns[0][t] += columns[other][t];
    __syncthreads();
    int channel = first + t, here = min(COLUMNS, width - first);
    if (t >= COLUMNS || channel >= c_size) return;
    REAL sum = 0;
    for (int i = t; i < here; i += c_size) sum += columns[0][i];
    parts_bc[(long long)blockIdx.x * c_size + channel] = sum;
}

// Group norm and its gradient on a GPU: x (N,L,C), in groups of `size` channels.
//
// By macro: REAL, float or double. All sums are float64, and each adds in an order that
// the shape alone decides: lanes, then warps, then bands.

#define ALL_LANES 0xffffffffu
constexpr int LANES = 32, LINES = 8;  // of a block that works on channels × positions

// Add up one value of each thread; all get the sum. `warps` is shared, one a warp.
__device__ __forceinline__ double sum_of_block(double value, double *warps) {
    for (int step = 16; step > 0; step /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, step);
    __syncthreads();  // the sum before has been read
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    double sum = 0;
    for (int warp = 0; warp < blockDim.x / 32; ++warp) sum += warps[warp];
    return sum;
}

// Add up one value of each line of threads, a sum a channel; line 0 gets them.
__device__ __forceinline__ double sum_of_lines(double value, double (*lines)[LANES]) {
    __syncthreads();
    lines[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    if (threadIdx.y > 0) return 0;
    for (int line = 1; line < LINES; ++line) value += lines[line][threadIdx.x];
    return value;
}

__device__ __forceinline__ REAL normal_of(REAL x, REAL mean, REAL rstd) {
    return (x - mean) * rstd;
}

// ---- Rung 1, plain: a block per group -------------------------------------------------
//
// It reads its group three times: for the mean, for the squares about it, to normalise.
// The first time from memory; if the group is small, then from the cache. With few
// groups most of the device has nothing to do, and a row of a group may be short.

extern "C" __global__ void group_norm_plain(
    const REAL *x_nlc, const REAL *weight_c, const REAL *bias_c, REAL *y_nlc,
    REAL *mean_ng, REAL *rstd_ng, double eps, int length, int c, int groups) {
    __shared__ double warps[32];
    int size = c / groups, group = blockIdx.x % groups, count = length * size;
    size_t first = (size_t)(blockIdx.x / groups) * length * c + group * size;
    double sum = 0, squares = 0;
    for (int e = threadIdx.x; e < count; e += blockDim.x)
        sum += x_nlc[first + (size_t)(e / size) * c + e % size];
    double mean = sum_of_block(sum, warps) / count;
    for (int e = threadIdx.x; e < count; e += blockDim.x) {
        double off = x_nlc[first + (size_t)(e / size) * c + e % size] - mean;
        squares += off * off;
    }
    double rstd = 1 / sqrt(sum_of_block(squares, warps) / count + eps);
    for (int e = threadIdx.x; e < count; e += blockDim.x) {
        size_t at = first + (size_t)(e / size) * c + e % size;
        int channel = group * size + e % size;
        y_nlc[at] = (x_nlc[at] - (REAL)mean) * ((REAL)rstd * weight_c[channel])
            + bias_c[channel];
    }
    if (threadIdx.x == 0) {
        mean_ng[blockIdx.x] = (REAL)mean;
        rstd_ng[blockIdx.x] = (REAL)rstd;
    }
}

// gx alone; gw and gb are sums over all items, which are those of rung 2.
extern "C" __global__ void group_norm_grad_plain(
    const REAL *x_nlc, const REAL *gy_nlc, const REAL *mean_ng, const REAL *rstd_ng,
    const REAL *weight_c, REAL *gx_nlc, int length, int c, int groups) {
    __shared__ double warps[32];
    int size = c / groups, group = blockIdx.x % groups, count = length * size;
    size_t first = (size_t)(blockIdx.x / groups) * length * c + group * size;
    REAL mean = mean_ng[blockIdx.x], rstd = rstd_ng[blockIdx.x];
    double one = 0, normal = 0;
    for (int e = threadIdx.x; e < count; e += blockDim.x) {
        size_t at = first + (size_t)(e / size) * c + e % size;
        double up = (double)gy_nlc[at] * weight_c[group * size + e % size];
        one += up;
        normal += up * normal_of(x_nlc[at], mean, rstd);
    }
    REAL along_one = (REAL)(sum_of_block(one, warps) / count);
    REAL along_y = (REAL)(sum_of_block(normal, warps) / count);
    for (int e = threadIdx.x; e < count; e += blockDim.x) {
        size_t at = first + (size_t)(e / size) * c + e % size;
        REAL up = gy_nlc[at] * weight_c[group * size + e % size];
        gx_nlc[at] =
            (up - along_one - normal_of(x_nlc[at], mean, rstd) * along_y) * rstd;
    }
}

// ---- Rung 2, banded: bands of positions, all channels -------------------------------
//
// A block takes `rows` positions of 32 neighbouring channels, which lie side by side in
// memory, whatever the groups are: the longer x, the more blocks. Each leaves the mean
// of each channel, and the squares about it. A second kernel makes of those of a group
// its mean and variance (Chan, Golub and LeVeque, "Updating formulae", 1979): over all
// parts Σ (x - mean)² is Σ (x - their mean)² + size (their mean - mean)². A third
// writes y.

extern "C" __global__ void measure_bands(
    const REAL *x_nlc, double *means_nbc, double *squares_nbc, int length, int c,
    int rows, int bands) {
    __shared__ double lines[LINES][LANES], centres[LANES];
    int item = blockIdx.x, channel = blockIdx.y * LANES + threadIdx.x;
    int first = blockIdx.z * rows, last = min(first + rows, length);
    const REAL *x_l = x_nlc + (size_t)item * length * c + channel;
    size_t to = ((size_t)item * bands + blockIdx.z) * c + channel;
    double sum = 0, squares = 0;
    if (channel < c)
        for (int row = first + threadIdx.y; row < last; row += LINES)
            sum += x_l[(size_t)row * c];
    sum = sum_of_lines(sum, lines);
    if (threadIdx.y == 0) centres[threadIdx.x] = sum / (last - first);
    __syncthreads();
    double centre = centres[threadIdx.x];
    if (channel < c)
        for (int row = first + threadIdx.y; row < last; row += LINES) {
            double off = x_l[(size_t)row * c] - centre;
            squares += off * off;
        }
    squares = sum_of_lines(squares, lines);
    if (threadIdx.y == 0 && channel < c) {
        means_nbc[to] = centre;
        squares_nbc[to] = squares;
    }
}

// A block per group. A band holds `rows` values of a channel, the last one what is left.
extern "C" __global__ void combine_bands(
    const double *means_nbc, const double *squares_nbc, REAL *mean_ng, REAL *rstd_ng,
    double eps, int length, int c, int groups, int rows, int bands) {
    __shared__ double warps[32];
    int size = c / groups, group = blockIdx.x % groups;
    size_t first = (size_t)(blockIdx.x / groups) * bands * c + group * size;
    double count = (double)length * size, sum = 0, squares = 0;
    for (int e = threadIdx.x; e < bands * size; e += blockDim.x) {
        int band = e / size, here = min(rows, length - band * rows);
        sum += means_nbc[first + (size_t)band * c + e % size] * here;
    }
    double mean = sum_of_block(sum, warps) / count;
    for (int e = threadIdx.x; e < bands * size; e += blockDim.x) {
        int band = e / size, here = min(rows, length - band * rows);
        size_t at = first + (size_t)band * c + e % size;
        double off = means_nbc[at] - mean;
        squares += squares_nbc[at] + off * off * here;
    }
    squares = sum_of_block(squares, warps);
    if (threadIdx.x == 0) {
        mean_ng[blockIdx.x] = (REAL)mean;
        rstd_ng[blockIdx.x] = (REAL)(1 / sqrt(squares / count + eps));
    }
}

// A thread a few values of an item.
extern "C" __global__ void normalize(
    const REAL *x_nlc, const REAL *mean_ng, const REAL *rstd_ng, const REAL *weight_c,
    const REAL *bias_c, REAL *y_nlc, int length, int c, int groups) {
    size_t item = (size_t)blockIdx.x * length * c;
    for (int e = blockIdx.y * blockDim.x + threadIdx.x; e < length * c;
         e += gridDim.y * blockDim.x) {
        int channel = e % c, group = blockIdx.x * groups + channel / (c / groups);
        REAL scale = rstd_ng[group] * weight_c[channel];
        y_nlc[item + e] = (x_nlc[item + e] - mean_ng[group]) * scale + bias_c[channel];
    }
}

// Σ gy and Σ gy·ŷ of each band of each channel. Bands cut stretches of `stretch`
// positions, which are items, or, where only channels are asked for, all items in one.
extern "C" __global__ void project_bands(
    const REAL *x_nlc, const REAL *gy_nlc, const REAL *mean_ng, const REAL *rstd_ng,
    double *ones_bc, double *normals_bc, int length, int c, int groups, int stretch,
    int rows, int bands) {
    __shared__ double lines[LINES][LANES];
    int channel = blockIdx.y * LANES + threadIdx.x;
    int start = blockIdx.x / bands * stretch, band = blockIdx.x % bands;
    int first = start + band * rows, last = min(first + rows, start + stretch);
    double one = 0, normal = 0;
    if (channel < c)
        for (int row = first + threadIdx.y; row < last; row += LINES) {
            size_t at = (size_t)row * c + channel;
            int group = row / length * groups + channel / (c / groups);
            double up = gy_nlc[at];
            one += up;
            normal += up * normal_of(x_nlc[at], mean_ng[group], rstd_ng[group]);
        }
    one = sum_of_lines(one, lines);
    normal = sum_of_lines(normal, lines);
    if (threadIdx.y == 0 && channel < c) {
        ones_bc[(size_t)blockIdx.x * c + channel] = one;
        normals_bc[(size_t)blockIdx.x * c + channel] = normal;
    }
}

// A block per group: how far its gradient points along 1, and along ŷ.
extern "C" __global__ void project_groups(
    const double *ones_nbc, const double *normals_nbc, const REAL *weight_c,
    REAL *along_one_ng, REAL *along_y_ng, int length, int c, int groups, int bands) {
    __shared__ double warps[32];
    int size = c / groups, group = blockIdx.x % groups;
    size_t first = (size_t)(blockIdx.x / groups) * bands * c + group * size;
    double count = (double)length * size, one = 0, normal = 0;
    for (int e = threadIdx.x; e < bands * size; e += blockDim.x) {
        size_t at = first + (size_t)(e / size) * c + e % size;
        double weight = weight_c[group * size + e % size];
        one += ones_nbc[at] * weight;
        normal += normals_nbc[at] * weight;
    }
    one = sum_of_block(one, warps);
    normal = sum_of_block(normal, warps);
    if (threadIdx.x == 0) {
        along_one_ng[blockIdx.x] = (REAL)(one / count);
        along_y_ng[blockIdx.x] = (REAL)(normal / count);
    }
}

// A block 32 channels: the sums of all bands of all items.
extern "C" __global__ void project_channels(
    const double *ones_bc, const double *normals_bc, REAL *gw_c, REAL *gb_c, int bands,
    int c) {
    __shared__ double lines[LINES][LANES];
    int channel = blockIdx.x * LANES + threadIdx.x;
    double one = 0, normal = 0;
    if (channel < c)
        for (int band = threadIdx.y; band < bands; band += LINES) {
            one += ones_bc[(size_t)band * c + channel];
            normal += normals_bc[(size_t)band * c + channel];
        }
    one = sum_of_lines(one, lines);
    normal = sum_of_lines(normal, lines);
    if (threadIdx.y == 0 && channel < c) {
        gw_c[channel] = (REAL)normal;
        gb_c[channel] = (REAL)one;
    }
}

extern "C" __global__ void take_out(
    const REAL *x_nlc, const REAL *gy_nlc, const REAL *mean_ng, const REAL *rstd_ng,
    const REAL *weight_c, const REAL *along_one_ng, const REAL *along_y_ng,
    REAL *gx_nlc, int length, int c, int groups) {
    size_t item = (size_t)blockIdx.x * length * c;
    for (int e = blockIdx.y * blockDim.x + threadIdx.x; e < length * c;
         e += gridDim.y * blockDim.x) {
        int channel = e % c, group = blockIdx.x * groups + channel / (c / groups);
        REAL normal = normal_of(x_nlc[item + e], mean_ng[group], rstd_ng[group]);
        REAL up = gy_nlc[item + e] * weight_c[channel];
        gx_nlc[item + e] =
            (up - along_one_ng[group] - normal * along_y_ng[group]) * rstd_ng[group];
    }
}

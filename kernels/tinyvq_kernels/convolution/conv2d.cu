// 2-D convolution and its two gradients on a GPU, channels-last: the first two rungs.
//
// By macro: REAL and FMA, float and fmaf or double and fma.
//
// Shapes as in __init__.py: x (N,H,W,C), w (R,S,C,K), y and gy (N,P,Q,K). An output
// pixel (u, v) meets through tap (i, j) the input pixel
//
//     (u·stride + i·dilation - padding, v·stride + j·dilation - padding)
//
// and one outside the image counts as zeros. A sum is one chain of fused multiply-adds,
// over taps, then over channels; a bias is added to it at the end.

#define GEOMETRY                                                                       \
    int n, int h, int w, int c, int r, int s, int k, int p, int q, int stride,         \
        int padding, int dilation

struct Pixel {
    int image, row, col;
};

// Which pixel of images of this size is the index-th of all.
__device__ __forceinline__ Pixel pixel_of(int index, int height, int width) {
    return {index / width / height, index / width % height, index % width};
}

// Where the channels of that input pixel begin which (image, u, v) meets through tap
// (i, j), or -1.
__device__ __forceinline__ long long met_by_output(Pixel o, int i, int j, GEOMETRY) {
    int row = o.row * stride + i * dilation - padding;
    int col = o.col * stride + j * dilation - padding;
    if (row < 0 || row >= h || col < 0 || col >= w) return -1;
    return ((long long)(o.image * h + row) * w + col) * c;
}

// The other way round: where the channels of that output pixel begin which meets this
// input pixel through tap (i, j), or -1.
__device__ __forceinline__ long long met_by_input(Pixel x, int i, int j, GEOMETRY) {
    int row = x.row + padding - i * dilation, col = x.col + padding - j * dilation;
    if (row < 0 || row % stride || col < 0 || col % stride) return -1;
    row /= stride, col /= stride;
    if (row >= p || col >= q) return -1;
    return ((long long)(x.image * p + row) * q + col) * k;
}

#define SIZES n, h, w, c, r, s, k, p, q, stride, padding, dilation

// Rung 1, plain: a thread per result. Neighbouring threads have neighbouring channels, so
// they share the pixel that they read, and read neighbouring weights.
extern "C" __global__ void conv2d_plain(
    const REAL *x_nhwc, const REAL *w_rsck, const REAL *b_k, REAL *y_npqk, int has_bias,
    GEOMETRY) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (long long)n * p * q * k) return;
    int to = at % k;
    Pixel pixel = pixel_of(at / k, p, q);
    REAL sum = 0;
    for (int tap = 0; tap < r * s; ++tap) {
        long long from = met_by_output(pixel, tap / s, tap % s, SIZES);
        if (from < 0) continue;
        const REAL *x_c = x_nhwc + from, *w_ck = w_rsck + (long long)tap * c * k;
        for (int l = 0; l < c; ++l) sum = FMA(x_c[l], w_ck[l * k + to], sum);
    }
    y_npqk[at] = has_bias ? sum + b_k[to] : sum;
}

extern "C" __global__ void conv2d_input_grad_plain(
    const REAL *gy_npqk, const REAL *w_rsck, const REAL *b_c, REAL *gx_nhwc,
    int has_bias, GEOMETRY) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (long long)n * h * w * c) return;
    int to = at % c;
    Pixel pixel = pixel_of(at / c, h, w);
    REAL sum = 0;
    for (int tap = 0; tap < r * s; ++tap) {
        long long from = met_by_input(pixel, tap / s, tap % s, SIZES);
        if (from < 0) continue;
        const REAL *gy_k = gy_npqk + from;
        const REAL *w_k = w_rsck + ((long long)tap * c + to) * k;
        for (int l = 0; l < k; ++l) sum = FMA(gy_k[l], w_k[l], sum);
    }
    gx_nhwc[at] = has_bias ? sum + b_c[to] : sum;
}

extern "C" __global__ void conv2d_weight_grad_plain(
    const REAL *x_nhwc, const REAL *gy_npqk, REAL *gw_rsck, GEOMETRY) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= r * s * c * k) return;
    int to = at % k, l = at / k % c, tap = at / k / c;
    REAL sum = 0;
    for (int pixel = 0; pixel < n * p * q; ++pixel) {
        Pixel output = pixel_of(pixel, p, q);
        long long from = met_by_output(output, tap / s, tap % s, SIZES);
        if (from >= 0)
            sum = FMA(x_nhwc[from + l], gy_npqk[(long long)pixel * k + to], sum);
    }
    gw_rsck[at] = sum;
}

// Rung 2, tiled. Each of the three is a matrix product of a matrix that is only thought
// of (im2col): nobody writes it down, its entries are looked up as they are needed.
//
//                    rows              columns   inner index
//     forward        output pixels     k         (tap, c)
//     input grad     input pixels      c         (tap, k)
//     weight grad    (tap, c)          k         output pixels
//
// A block of TILE × TILE threads makes a tile of the product. It brings TILE × TILE
// entries of both matrices to shared memory, where each is used TILE times.
//
// With stride 2 the input gradient looks up zeros three times of four: an input pixel
// meets only every other tap. The next rung does not.
constexpr int TILE = 16;

__device__ __forceinline__ REAL add_tile(
    REAL (&left)[TILE][TILE + 1], REAL (&right)[TILE][TILE + 1], REAL a, REAL b,
    REAL sum) {
    left[threadIdx.y][threadIdx.x] = a;
    right[threadIdx.y][threadIdx.x] = b;
    __syncthreads();
    for (int l = 0; l < TILE; ++l)
        sum = FMA(left[threadIdx.y][l], right[l][threadIdx.x], sum);
    __syncthreads();
    return sum;
}

extern "C" __global__ void conv2d_tiled(
    const REAL *x_nhwc, const REAL *w_rsck, const REAL *b_k, REAL *y_npqk, int has_bias,
    GEOMETRY) {
    __shared__ REAL left[TILE][TILE + 1], right[TILE][TILE + 1];
    int row = blockIdx.x * TILE + threadIdx.y, col = blockIdx.y * TILE + threadIdx.x;
    Pixel pixel = pixel_of(row, p, q);
    int inner = r * s * c;
    REAL sum = 0;
    for (int first = 0; first < inner; first += TILE) {
        int e = first + threadIdx.x, f = first + threadIdx.y;  // of left, of right
        long long from = -1;
        if (row < n * p * q && e < inner)
            from = met_by_output(pixel, e / c / s, e / c % s, SIZES);
        REAL a = from < 0 ? 0 : x_nhwc[from + e % c];
        REAL b = f < inner && col < k ? w_rsck[(long long)f * k + col] : 0;
        sum = add_tile(left, right, a, b, sum);
    }
    if (row < n * p * q && col < k)
        y_npqk[(long long)row * k + col] = has_bias ? sum + b_k[col] : sum;
}

extern "C" __global__ void conv2d_input_grad_tiled(
    const REAL *gy_npqk, const REAL *w_rsck, const REAL *b_c, REAL *gx_nhwc,
    int has_bias, GEOMETRY) {
    __shared__ REAL left[TILE][TILE + 1], right[TILE][TILE + 1];
    int row = blockIdx.x * TILE + threadIdx.y, col = blockIdx.y * TILE + threadIdx.x;
    Pixel pixel = pixel_of(row, h, w);
    int inner = r * s * k;
    REAL sum = 0;
    for (int first = 0; first < inner; first += TILE) {
        int e = first + threadIdx.x, f = first + threadIdx.y;
        long long from = -1;
        if (row < n * h * w && e < inner)
            from = met_by_input(pixel, e / k / s, e / k % s, SIZES);
        REAL a = from < 0 ? 0 : gy_npqk[from + e % k], b = 0;
        if (f < inner && col < c)
            b = w_rsck[((long long)(f / k) * c + col) * k + f % k];
        sum = add_tile(left, right, a, b, sum);
    }
    if (row < n * h * w && col < c)
        gx_nhwc[(long long)row * c + col] = has_bias ? sum + b_c[col] : sum;
}

extern "C" __global__ void conv2d_weight_grad_tiled(
    const REAL *x_nhwc, const REAL *gy_npqk, REAL *gw_rsck, GEOMETRY) {
    __shared__ REAL left[TILE][TILE + 1], right[TILE][TILE + 1];
    int row = blockIdx.x * TILE + threadIdx.y, col = blockIdx.y * TILE + threadIdx.x;
    int rows = r * s * c, inner = n * p * q, l = row % c, tap = row / c;
    REAL sum = 0;
    for (int first = 0; first < inner; first += TILE) {
        int e = first + threadIdx.x, f = first + threadIdx.y;
        long long from = -1;
        if (row < rows && e < inner)
            from = met_by_output(pixel_of(e, p, q), tap / s, tap % s, SIZES);
        REAL a = from < 0 ? 0 : x_nhwc[from + l];
        REAL b = f < inner && col < k ? gy_npqk[(long long)f * k + col] : 0;
        sum = add_tile(left, right, a, b, sum);
    }
    if (row < rows && col < k) gw_rsck[(long long)row * k + col] = sum;
}

// The weight gradient of a 2-D convolution on a GPU where x or gy has few channels,
// float32. conv2d_narrow.cu has the other two of this rung.
//
// 3 × 3 taps of 3 channels to 32 make 27 × 32 results, one tile of conv2d_registers.cu.
// As it then cut the sums into 64 parts, it had 64 blocks of two warps, and most of the
// device nothing to do. Measured on an H200, with 8 images of 64 × 64, it took 112
// microseconds; memory needs less than 2. With 4 × 4 taps of 3 to 64, stride 2, 32
// images of 32 × 32, it took 23. Here tiles are small, 32 × 32 or 16 × 64, and there
// are as many parts as fill a device; add_parts.cu adds them up.
//
// Of x and gy, one has few channels, FC, and one may have many, WC. The inner index is
// the pixels of the wide one, whose channels are the columns; the rows are the entries
// (tap, l) of the narrow one. If x is the narrow one, pixel (u, v) meets row
// u·stride + i·dilation - padding of it. If gy is (`turned`, with stride 1 alone), a
// pixel of x meets row u + padding - i·dilation of gy.
//
// A thread has 4 × 4 sums. While a chunk is multiplied, the next one is on its way.
// What a pixel meets is worked out once, and put into a table.
//
// By macro: COLUMNS of a tile, 32 or 64.

constexpr int THREADS = 64, QUADS = COLUMNS / 4;
constexpr int ROWS = THREADS / QUADS * 4;
constexpr int SPAN = 32;             // pixels of a chunk
constexpr int OUTSIDE = -(1 << 30);  // a row that no image has
constexpr int LOADS_L = SPAN * ROWS / THREADS, LOADS_R = SPAN * QUADS / THREADS;

struct Pixel {
    int image, row, col;
};

__device__ __forceinline__ Pixel pixel_of(int index, int height, int width) {
    int line = index / width;
    return {line / height, line % height, index % width};
}

__device__ __forceinline__ bool is_inside(int row, int col, int height, int width) {
    return (unsigned)row < (unsigned)height && (unsigned)col < (unsigned)width;
}

// Read four neighbours, of which `count` are there; zeros for the others.
__device__ __forceinline__ float4 read4(const float *from, int count, bool aligned) {
    if (count <= 0) return make_float4(0, 0, 0, 0);
    if (aligned) return *(const float4 *)from;
    return make_float4(
        from[0], count > 1 ? from[1] : 0, count > 2 ? from[2] : 0,
        count > 3 ? from[3] : 0);
}

__device__ __forceinline__ void write4(
    float *to, int apart, const float (&v)[4], int count, bool aligned) {
    if (aligned && count > 0) *(float4 *)to = make_float4(v[0], v[1], v[2], v[3]);
    if (aligned) return;
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (i < count) to[i * apart] = v[i];
}

__device__ __forceinline__ void add_products(float (&sum)[4][4], float4 a, float4 b) {
    float left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
}

// What a pixel meets of the narrow one before a tap is added: row, column, and where.
struct alignas(16) Met {
    int row, col, first, spare;
};

extern "C" __global__ void __launch_bounds__(THREADS) conv2d_weight_grad_narrow(
    const float *few, const float *wide, float *sums, int turned, int n, int fh, int fw,
    int fc, int r, int s, int wh, int ww, int wc, int stride, int padding, int dilation,
    int parts) {
    __shared__ float4 left4[SPAN * ROWS / 4], right4[SPAN * QUADS];
    __shared__ Met met[2][SPAN];  // by the pixels of this chunk, and of the next
    int pixels = n * wh * ww, entries = r * s * fc, part = blockIdx.z, t = threadIdx.x;
    int quad = t % QUADS, group = t / QUADS, to = blockIdx.y * COLUMNS + quad * 4;
    int chunks = (pixels + SPAN - 1) / SPAN;
    int begin = (int)((long long)chunks * part / parts) * SPAN;
    int end = (int)((long long)chunks * (part + 1) / parts) * SPAN;
    bool aligned = wc % 4 == 0;

    // This thread always looks up the same entry, of other pixels.
    int e = blockIdx.x * ROWS + t % ROWS, tap = e / fc;
    int down = tap / s * dilation - padding, along = tap % s * dilation - padding;
    if (turned) down = -down, along = -along;
    int entry = (down * fw + along) * fc + e % fc;
    if (e >= entries) down = OUTSIDE;

    auto meet = [&](int chunk) {
        Pixel at = pixel_of(chunk + t, wh, ww);
        int y = at.row * stride, x = at.col * stride;
        int first = ((at.image * fh + y) * fw + x) * fc;
        if (at.image >= n) y = OUTSIDE;
        if (t < SPAN) met[chunk / SPAN % 2][t] = {y, x, first, 0};
    };
    float next_l[LOADS_L];
    float4 next_r[LOADS_R];
    auto fetch = [&](int chunk) {
#pragma unroll
        for (int i = 0; i < LOADS_L; ++i) {
            Met at = met[chunk / SPAN % 2][t / ROWS + i * (THREADS / ROWS)];
            bool there = is_inside(at.row + down, at.col + along, fh, fw);
            next_l[i] = there ? few[at.first + entry] : 0;
        }
#pragma unroll
        for (int i = 0; i < LOADS_R; ++i) {
            int pixel = chunk + group + i * (THREADS / QUADS);
            const float *from = wide + pixel * wc + to;
            next_r[i] = read4(from, pixel < pixels ? wc - to : 0, aligned);
        }
    };

    float sum[4][4] = {};
    meet(begin);
    __syncthreads();
    if (begin < end) fetch(begin);
    for (int chunk = begin; chunk < end; chunk += SPAN) {
#pragma unroll
        for (int i = 0; i < LOADS_L; ++i) ((float *)left4)[t + i * THREADS] = next_l[i];
#pragma unroll
        for (int i = 0; i < LOADS_R; ++i) right4[t + i * THREADS] = next_r[i];
        meet(chunk + SPAN);
        __syncthreads();
        if (chunk + SPAN < end) fetch(chunk + SPAN);
#pragma unroll 8
        for (int l = 0; l < SPAN; ++l)
            add_products(sum, left4[l * ROWS / 4 + group], right4[l * QUADS + quad]);
        __syncthreads();
    }

    // Into (parts,R,S,C,K), whichever of C and K is the wide one.
    sums += (long long)part * entries * wc;
    int apart = turned ? fc : 1;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        int of = blockIdx.x * ROWS + group * 4 + i;
        if (of >= entries) break;
        long long first = turned ? of / fc * (long long)wc * fc + of % fc
                                 : (long long)of * wc;
        float *place = sums + first + to * apart;
        write4(place, apart, sum[i], wc - to, aligned && apart == 1);
    }
}

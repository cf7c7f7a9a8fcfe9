// 2-D convolution and its gradients on a GPU where an image has few channels, float32:
// the first layer of an encoder, the last of a decoder. conv2d.cu says which matrix
// products these are, conv2d_registers.cu what the rung before does.
//
// Why there is one more: a tile of 64 × 64 or 128 × 32 does not fit such a layer. With
// 3 channels at the source, each of four values is looked up by itself; with 3 at the
// target, nine tenths of a tile are zeros. Measured on an H200, register_tiled took, in
// microseconds, where memory needs less than 2:
//
//                                                    forward  input gradient
//     4 × 4, 3 -> 64, stride 2, 32 × 32, batch 32      12.9         26.8
//     3 × 3, 3 -> 32, stride 1, 64 × 64, batch 8       13.4         29
//
// Here each of the two cases has tiles of its own shape:
//
//   from few   A block makes 32 or 64 columns of few pixels. What these see is laid out
//              in shared memory once, by a table of the inner index, which is short. A
//              thread has 4 × 4 sums.
//   to few     A group of lanes makes all channels of four pixels. The lanes share out
//              the source's channels, so they read whole lines of memory; the weights
//              wait in shared memory; shuffles add up.
//
// conv2d_narrow_weights.cu has the weight gradient. No result depends on other pixels:
// the order of a sum follows from the number of channels and taps alone.
//
// As in conv2d_registers.cu, both make a target (N,TH,TW,TC) of a source (N,SH,SW,SC),
// the input gradient in stride² phases, each a convolution of stride 1.
//
// By macro: COLUMNS of a tile, 32 or 64; or FEW, the channels at the target, 1 to 4.

constexpr int THREADS = 128;
constexpr int OUTSIDE = -(1 << 30);  // a row that no image has

struct Pixel {
    int image, row, col;
};

__device__ __forceinline__ Pixel pixel_of(int index, int height, int width) {
    int line = index / width;
    return {line / height, line % height, index % width};
}

// The pixel `by` further on.
__device__ __forceinline__ Pixel go_on(Pixel at, int by, int height, int width) {
    for (at.col += by; at.col >= width; at.col -= width)
        if (++at.row == height) at.row = 0, ++at.image;
    return at;
}

__device__ __forceinline__ bool is_inside(int row, int col, int height, int width) {
    return (unsigned)row < (unsigned)height && (unsigned)col < (unsigned)width;
}

// Read four neighbours, of which `count` are there; zeros for the others.
__device__ __forceinline__ float4 read4(
    const float *from, int apart, int count, bool aligned) {
    if (count <= 0) return make_float4(0, 0, 0, 0);
    if (aligned) return *(const float4 *)from;
    return make_float4(from[0], count > 1 ? from[apart] : 0,
                       count > 2 ? from[2 * apart] : 0,
                       count > 3 ? from[3 * apart] : 0);
}

__device__ __forceinline__ void write4(
    float *to, const float (&v)[4], int count, bool aligned) {
    if (aligned && count > 0) *(float4 *)to = make_float4(v[0], v[1], v[2], v[3]);
    if (aligned) return;
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (i < count) to[i] = v[i];
}

__device__ __forceinline__ void add_products(float (&sum)[4][4], float4 a, float4 b) {
    float left[4] = {a.x, a.y, a.z, a.w}, right[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
}

// Along an axis, an output u of `count` stands at target first + u·spread. Through the
// i-th of `taps` taps, which is tap `tap` + i·tap_step of the kernel, it meets source
// from + u·step + i·reach.
//
// Stride or dilation is 1, so that a phase has the taps t with t % stride == phase.
// Target h meets through tap t the source (h + padding - t·dilation) / stride.

struct Axis {
    int count, first, spread, taps, tap, tap_step, from, step, reach;
};

__device__ __forceinline__ Axis axis_of(
    int gradient, int phase, int target, int taps, int stride, int padding,
    int dilation) {
    if (!gradient) return {target, 0, 1, taps, 0, 1, -padding, stride, dilation};
    int entry = padding / stride, first = phase - padding % stride;
    if (first < 0) first += stride, ++entry;
    return {(target - first + stride - 1) / stride, first, stride,
            (taps - phase + stride - 1) / stride, phase, stride, entry, 1, -dilation};
}

#define SIZES                                                                          \
    int has_bias, int gradient, int n, int sh, int sw, int sc, int r, int s, int th,   \
        int tw, int tc, int stride, int padding, int dilation

#define AXES                                                                           \
    Axis down =                                                                        \
        axis_of(gradient, blockIdx.z / stride, th, r, stride, padding, dilation);      \
    Axis along =                                                                       \
        axis_of(gradient, blockIdx.z % stride, tw, s, stride, padding, dilation)

// Weights are (R,S,SC,TC), or (R,S,TC,SC) for the input gradient.

#if COLUMNS
constexpr int QUADS = COLUMNS / 4;
constexpr int PIXELS = THREADS / QUADS * 4;       // of a tile: four a thread
constexpr int CHUNK = 48;                         // of the inner index: 4 × 4 taps of 3
constexpr int LOADS_W = CHUNK * QUADS / THREADS;  // weights that it reads, in fours
constexpr int APART = THREADS / PIXELS;           // threads that lay out one pixel
constexpr int BATCH = COLUMNS == 64 ? 6 : 8;      // of its own that it reads at once

// An entry of the inner index: its place in the source, from where the first tap is;
// and where its weights begin.
struct alignas(16) Entry {
    int row, col, source, weights;
};

extern "C" __global__ void __launch_bounds__(THREADS) conv2d_from_few_channels(
    const float *source, const float *weights, const float *bias, float *target,
    SIZES) {
    __shared__ Entry entries[CHUNK];
    __shared__ float4 left4[CHUNK * PIXELS / 4], right4[CHUNK * QUADS];
    AXES;
    int pixels = n * down.count * along.count, inner = down.taps * along.taps * sc;
    int begin = blockIdx.x * PIXELS, t = threadIdx.x;
    if (begin >= pixels) return;  // the first phase has more
    int quad = t % QUADS, group = t / QUADS, to = blockIdx.y * COLUMNS + quad * 4;
    bool aligned = tc % 4 == 0;

    // This thread lays out what one pixel sees.
    Pixel mine = pixel_of(begin + t % PIXELS, down.count, along.count);
    int row = down.from + mine.row * down.step;
    int col = along.from + mine.col * along.step;
    int corner = ((mine.image * sh + row) * sw + col) * sc;
    if (mine.image >= n) row = OUTSIDE;
    float sum[4][4] = {};
    for (int chunk = 0; chunk < inner; chunk += CHUNK) {
        int count = min(CHUNK, inner - chunk);
        if (t < count) {
            int tap = (chunk + t) / sc, l = (chunk + t) % sc;
            int i = tap / along.taps, j = tap % along.taps;
            int y = i * down.reach, x = j * along.reach;
            tap = (down.tap + i * down.tap_step) * s + along.tap + j * along.tap_step;
            int first = gradient ? tap * tc * sc + l : (tap * sc + l) * tc;
            entries[t] = {y, x, (y * sw + x) * sc + l, first};
        }
        __syncthreads();  // the table is whole, and nobody needs the tiles any more

        // All that a thread reads is on its way before it waits for any of it.
        float4 columns[LOADS_W];
#pragma unroll
        for (int i = 0; i < LOADS_W; ++i) {
            int e = group + i * (THREADS / QUADS), apart = gradient ? sc : 1;
            int first = e < count ? entries[e].weights : 0;
            int there = e < count ? tc - to : 0;
            const float *from = weights + first + to * apart;
            columns[i] = read4(from, apart, there, aligned && apart == 1);
        }
        for (int first = t / PIXELS; first < count; first += BATCH * APART) {
            float seen[BATCH];
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                int e = first + i * APART;
                Entry at = e < count ? entries[e] : Entry{OUTSIDE, 0, 0, 0};
                bool inside = is_inside(row + at.row, col + at.col, sh, sw);
                seen[i] = inside ? source[corner + at.source] : 0;
            }
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                int e = first + i * APART;
                if (e < count) ((float *)left4)[e * PIXELS + t % PIXELS] = seen[i];
            }
        }
#pragma unroll
        for (int i = 0; i < LOADS_W; ++i) right4[t + i * THREADS] = columns[i];
        __syncthreads();
#pragma unroll 4
        for (int e = 0; e < count; ++e)
            add_products(sum, left4[e * PIXELS / 4 + group], right4[e * QUADS + quad]);
    }

    Pixel o = pixel_of(begin + group * 4, down.count, along.count);
    float4 more = read4(bias + to, 1, has_bias ? tc - to : 0, aligned);
    float added[4] = {more.x, more.y, more.z, more.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (o.image >= n) break;
        int y = down.first + o.row * down.spread;
        int x = along.first + o.col * along.spread;
        float *at = target + ((o.image * th + y) * tw + x) * tc + to;
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (has_bias) sum[i][j] += added[j];
        write4(at, sum[i], tc - to, aligned);
        o = go_on(o, 1, down.count, along.count);
    }
}

#else  // FEW
constexpr int WEIGHTS = 8192;  // that a block keeps
constexpr int FILL = 4;        // reads of four weights that a thread has on their way

// Add v over the lanes of a group. Of four neighbours, lane 2·a + b is left with pixel
// a + 2·b: two exchanges in which each half keeps what the other gives away.
__device__ __forceinline__ float sum_of_group(
    float v0, float v1, float v2, float v3, int lanes) {
    bool upper = threadIdx.x & 1, right = threadIdx.x & 2;
    float kept0 = upper ? v2 : v0, kept1 = upper ? v3 : v1;
    kept0 += __shfl_xor_sync(0xffffffffu, upper ? v0 : v2, 1);
    kept1 += __shfl_xor_sync(0xffffffffu, upper ? v1 : v3, 1);
    float sum = right ? kept1 : kept0;
    sum += __shfl_xor_sync(0xffffffffu, right ? kept0 : kept1, 2);
    for (int apart = 4; apart < lanes; apart *= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, apart);
    return sum;
}

// Copy the weights of a phase's taps to shared memory, as (taps, TC, SC).
__device__ __forceinline__ void keep_weights(
    float4 *kept4, const float4 *weights, int gradient, int sc, int s, Axis down,
    Axis along) {
    int row = FEW * sc / 4, all = down.taps * along.taps * row;  // in fours
    for (int begin = threadIdx.x; begin < all; begin += FILL * THREADS) {
        float4 read[FILL];
#pragma unroll
        for (int i = 0; i < FILL; ++i) {  // all are on their way before one is there
            int from = min(begin + i * THREADS, all - 1);
            if (down.spread > 1) {  // a phase does not meet all taps
                int tap = from / row, y = down.tap + tap / along.taps * down.tap_step;
                int x = along.tap + tap % along.taps * along.tap_step;
                from += (y * s + x - tap) * row;
            }
            read[i] = weights[from];
        }
#pragma unroll
        for (int i = 0; i < FILL; ++i) {
            int at = begin + i * THREADS, tap = at / row, first = (at - tap * row) * 4;
            float v[4] = {read[i].x, read[i].y, read[i].z, read[i].w};
            if (at >= all) break;
            if (gradient) kept4[at] = read[i];
#pragma unroll
            for (int j = 0; j < 4; ++j)  // (SC, TC) turned into (TC, SC)
                if (!gradient)
                    ((float *)(kept4 + tap * row))
                        [(first + j) % FEW * sc + (first + j) / FEW] = v[j];
        }
    }
}

// TC is FEW, SC a multiple of 4; a phase's taps · TC · SC <= WEIGHTS; lanes 4 .. 32.
extern "C" __global__ void __launch_bounds__(THREADS) conv2d_to_few_channels(
    const float *source, const float *weights, const float *bias, float *target,
    SIZES, int lanes) {
    __shared__ float4 kept4[WEIGHTS / 4];
    AXES;
    int pixels = n * down.count * along.count;
    int begin = blockIdx.x * (THREADS / lanes) * 4, t = threadIdx.x;
    if (begin >= pixels) return;

    int quads = sc / 4, row = FEW * quads;  // in fours, all weights of a tap
    keep_weights(kept4, (const float4 *)weights, gradient, sc, s, down, along);
    __syncthreads();

    int lane = t % lanes;
    Pixel first = pixel_of(begin + t / lanes * 4, down.count, along.count), o = first;
    int top[4], left[4], corner[4];  // where each meets the first tap; in fours
#pragma unroll
    for (int p = 0; p < 4; ++p) {
        top[p] = down.from + o.row * down.step;
        left[p] = along.from + o.col * along.step;
        corner[p] = ((o.image * sh + top[p]) * sw + left[p]) * quads;
        if (o.image >= n) top[p] = OUTSIDE;
        o = go_on(o, 1, down.count, along.count);
    }
    float sum[4][FEW] = {};
    const float4 *kept = kept4;
    for (int i = 0; i < down.taps; ++i)
        for (int j = 0; j < along.taps; ++j, kept += row) {
            int y = i * down.reach, x = j * along.reach;
            int tap = (y * sw + x) * quads;
            bool inside[4];
#pragma unroll
            for (int p = 0; p < 4; ++p)
                inside[p] = is_inside(top[p] + y, left[p] + x, sh, sw);
#pragma unroll 2
            for (int l = lane; l < quads; l += lanes) {
                float4 v[4];
#pragma unroll
                for (int p = 0; p < 4; ++p)
                    v[p] = inside[p] ? ((const float4 *)source)[corner[p] + tap + l]
                                     : make_float4(0, 0, 0, 0);
#pragma unroll
                for (int to = 0; to < FEW; ++to) {
                    float4 w = kept[to * quads + l];
#pragma unroll
                    for (int p = 0; p < 4; ++p) {
                        float both = fmaf(v[p].x, w.x, sum[p][to]);
                        both = fmaf(v[p].y, w.y, both);
                        both = fmaf(v[p].z, w.z, both);
                        sum[p][to] = fmaf(v[p].w, w.w, both);
                    }
                }
            }
        }

    o = go_on(first, t % 2 * 2 + t / 2 % 2, down.count, along.count);
    int y = down.first + o.row * down.spread, x = along.first + o.col * along.spread;
    float *at = target + ((o.image * th + y) * tw + x) * FEW;
#pragma unroll
    for (int to = 0; to < FEW; ++to) {
        float all =
            sum_of_group(sum[0][to], sum[1][to], sum[2][to], sum[3][to], lanes);
        if (lane < 4 && o.image < n) at[to] = has_bias ? all + bias[to] : all;
    }
}

#endif

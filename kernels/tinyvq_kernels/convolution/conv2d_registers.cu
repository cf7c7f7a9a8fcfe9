// 2-D convolution and its gradients on a GPU: register tiles, float32. conv2d.cu has
// the rungs before, and says which matrix products these are.
//
// What is new: a thread keeps 8 × 8 sums in registers and reads 8 + 8 values of shared
// memory for 64 fmas. The next chunk of both matrices is on its way from memory while
// this one is multiplied, and is then put into a second pair of tiles, so that one
// barrier a chunk is left. Four channels are read at once where they stand aligned.
// Where an entry of the unwritten matrix stands is not divided out again for each:
// each thread walks on along taps and channels.
//
// The inner index is cut into parts, by its size alone, and a sum is that of its parts
// in their order: short chains, which round less. A product of few rows and columns has
// a block for each part, and add_parts adds them up; where there are blocks enough each
// adds its parts itself. Both make the same bits, so they do not depend on the batch.
//
// By macro: ROWS and COLUMNS of a block's tile, multiples of 8; GRADIENT, 0 for the
// forward pass, 1 for the input gradient, 2 for the weight gradient; SOURCE4 and
// TARGET4, whether the channels of what is read, and of what is made, come in fours.

constexpr int CHUNK = 8, ACROSS = COLUMNS / 8, THREADS = ROWS / 8 * ACROSS;
constexpr int L_PITCH = ROWS + 4;  // 4 to spare: turned writes meet other banks
constexpr int R_PITCH = COLUMNS + 4;
constexpr int LOADS_L = ROWS * CHUNK / 4 / THREADS;  // of four values, by a thread
constexpr int LOADS_R = COLUMNS * CHUNK / 4 / THREADS;

struct Pixel {
    int image, row, col;
};

struct Four {
    float v[4];
};

__device__ __forceinline__ Four aligned4(const float *from) {
    float4 v = *(const float4 *)from;
    return {{v.x, v.y, v.z, v.w}};
}

// Read four entries of the unwritten matrix: find(i) is where the i-th stands, or null.
template <class Find>
__device__ __forceinline__ Four gather(Find find) {
    Four four = {{0, 0, 0, 0}};
#if SOURCE4
    if (const float *from = find(0)) four = aligned4(from);
#else
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (const float *from = find(i)) four.v[i] = *from;
#endif
    return four;
}

// Read four neighbours, of which `count` are there; zeros for the others.
__device__ __forceinline__ Four read4(const float *from, int count) {
    Four four = {{0, 0, 0, 0}};
#if TARGET4
    if (count > 0) four = aligned4(from);
#else
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (i < count) four.v[i] = from[i];
#endif
    return four;
}

__device__ __forceinline__ void write4(float *to, const float *v, int count) {
#if TARGET4
    if (count > 0) *(float4 *)to = make_float4(v[0], v[1], v[2], v[3]);
#else
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (i < count) to[i] = v[i];
#endif
}

__device__ __forceinline__ void put_row(float *tile, Four four) {
    *(float4 *)tile = make_float4(four.v[0], four.v[1], four.v[2], four.v[3]);
}

__device__ __forceinline__ void put_column(float *tile, int pitch, Four four) {
#pragma unroll
    for (int i = 0; i < 4; ++i) tile[i * pitch] = four.v[i];
}

__device__ __forceinline__ void get8(float (&v)[8], const float *from, int apart) {
    float4 a = *(const float4 *)from, b = *(const float4 *)(from + apart);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}

// A thread's eight rows of ROWS are 4y .. 4y+3 and those ROWS/2 further; columns alike.
__device__ __forceinline__ int eighth(int y, int i, int all) {
    return y * 4 + i % 4 + i / 4 * (all / 2);
}

__device__ __forceinline__ void multiply(
    float (&sum)[8][8], const float *left, const float *right) {
    int x = eighth(threadIdx.x % ACROSS, 0, COLUMNS);
    int y = eighth(threadIdx.x / ACROSS, 0, ROWS);
#pragma unroll
    for (int l = 0; l < CHUNK; ++l) {
        float a[8], b[8];
        get8(a, left + l * L_PITCH + y, ROWS / 2);
        get8(b, right + l * R_PITCH + x, COLUMNS / 2);
#pragma unroll
        for (int i = 0; i < 8; ++i)
#pragma unroll
            for (int j = 0; j < 8; ++j) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
    }
}

// Add chunks begin .. end-1, the next being fetched while one is multiplied.
template <class Fetch, class Put>
__device__ __forceinline__ void run_chunks(
    float (&sum)[8][8], float4 (*left)[CHUNK * L_PITCH / 4],
    float4 (*right)[CHUNK * R_PITCH / 4], int begin, int end, Fetch fetch, Put put) {
    if (begin >= end) return;
    fetch(begin);
    put((float *)left[0], (float *)right[0]);
    __syncthreads();
    for (int chunk = begin, now = 0; chunk < end; ++chunk) {
        bool more = chunk + 1 < end;
        if (more) fetch(chunk + 1);
        multiply(sum, (float *)left[now], (float *)right[now]);
        if (!more) break;
        now ^= 1;  // last read before the barrier that is behind us
        put((float *)left[now], (float *)right[now]);
        __syncthreads();
    }
}

#if GRADIENT < 2
// ---- forward and input gradient -----------------------------------------------------
//
// Both make a target (N,TH,TW,TC) of a source (N,SH,SW,SC). Along an axis, an output u
// of `count` stands at target first + u·spread. Through the i-th of `taps` taps, which
// is tap `tap` + i·tap_step of the kernel, it meets source from + u·step + i·reach.
//
// The forward pass is that with one phase. The input gradient has stride² of them: the
// input pixels h with h % stride == first all meet the same taps, those t with
// (h + padding - t·dilation) % stride == 0, which are `period` apart; and each phase is
// a convolution of stride 1, in which no product is wasted.

struct Axis {
    int count, first, spread, taps, tap, tap_step, from, step, reach;
};

__device__ __forceinline__ Axis axis_of(
    int first, int target, int taps, int stride, int padding, int dilation,
    int period) {
#if GRADIENT
    int tap = taps - 1;  // by growing source the taps fall
    while (tap >= 0 && (first + padding - tap * dilation) % stride != 0) --tap;
    return {(target - first + stride - 1) / stride, first, stride,
            tap < 0 ? 0 : tap / period + 1, tap, -period,
            (first + padding - tap * dilation) / stride, 1, period * dilation / stride};
#else
    return {target, 0, 1, taps, 0, 1, -padding, stride, dilation};
#endif
}

__device__ __forceinline__ Pixel pixel_of(int index, Axis down, Axis along) {
    int line = index / along.count;
    return {line / down.count, line % down.count, index % along.count};
}

// An entry of the inner index: row and column of the tap, and channel of the source.
struct Walk {
    int i, j, l;
};

// The entry `by` further on.
__device__ __forceinline__ Walk walk_on(Walk at, int by, int taps, int channels) {
    for (at.l += by; at.l >= channels; at.l -= channels)
        if (++at.j == taps) at.j = 0, ++at.i;
    return at;
}

// Write channels `channel` .. +3 of a pixel: after what is there, before a bias if any.
__device__ __forceinline__ void add4(
    float *to, float *sum, int channel, int tc, bool after, const float *bias) {
    Four before = read4(to + channel, after ? tc - channel : 0);
#pragma unroll
    for (int v = 0; v < 4; ++v) {
        if (after) sum[v] = before.v[v] + sum[v];
        if (bias && channel + v < tc) sum[v] += bias[channel + v];
    }
    write4(to + channel, sum, tc - channel);
}

extern "C" __global__ void __launch_bounds__(THREADS, 384 / THREADS)
conv2d_register_tiled(
    const float *source, const float *weights, const float *bias, float *target,
    int has_bias, int n, int sh, int sw, int sc, int r, int s, int th, int tw, int tc,
    int stride, int padding, int dilation, int period, int parts, int parts_of_block) {
    __shared__ float4 left4[2][CHUNK * L_PITCH / 4], right4[2][CHUNK * R_PITCH / 4];
    int first_part = blockIdx.z * parts_of_block % parts, t = threadIdx.x;
    int phase = blockIdx.z * parts_of_block / parts;
    Axis down = axis_of(phase / stride, th, r, stride, padding, dilation, period);
    Axis along = axis_of(phase % stride, tw, s, stride, padding, dilation, period);
    int pixels = n * down.count * along.count;
    int row = blockIdx.x * ROWS, col = blockIdx.y * COLUMNS;
    if (row >= pixels) return;  // the first phase has more
    int inner = down.taps * along.taps * sc, chunks = (inner + CHUNK - 1) / CHUNK;
    auto begin_of = [&](int part) { return (int)((long long)chunks * part / parts); };

    // This thread fetches entries l .. l+3 of each chunk, of LOADS_L pixels.
    const int apart = THREADS / (CHUNK / 4);
    int l = t % (CHUNK / 4) * 4, first = t / (CHUNK / 4);
    Pixel corner[LOADS_L];  // what each meets through the first tap
#pragma unroll
    for (int i = 0; i < LOADS_L; ++i) {
        Pixel o = pixel_of(row + first + i * apart, down, along);
        corner[i] = {o.image, down.from + o.row * down.step,
                     along.from + o.col * along.step};
    }
    Walk at = {0, 0, 0};
    if (inner > 0) {
        int e = begin_of(first_part) * CHUNK + l, tap = e / sc;
        at = {tap / along.taps, tap % along.taps, e % sc};
    }

    Four next_l[LOADS_L], next_r[LOADS_R];
    auto fetch = [&](int chunk) {
#pragma unroll
        for (int i = 0; i < LOADS_L; ++i)
            next_l[i] = gather([&](int of) -> const float * {
                Walk e = walk_on(at, of, along.taps, sc);
                int y = corner[i].row + e.i * down.reach;
                int x = corner[i].col + e.j * along.reach;
                bool inside = y >= 0 && y < sh && x >= 0 && x < sw;
                if (e.i >= down.taps || !inside || corner[i].image >= n) return nullptr;
                int line = corner[i].image * sh + y;
                return source + ((long long)line * sw + x) * sc + e.l;
            });
#pragma unroll
        for (int i = 0; i < LOADS_R; ++i) {
#if GRADIENT  // weights (R,S,TC,SC): a column of the matrix lies in a row of memory
            int to = col + first + i * apart;
            next_r[i] = gather([&](int of) -> const float * {
                Walk e = walk_on(at, of, along.taps, sc);
                int y = down.tap + e.i * down.tap_step;
                int x = along.tap + e.j * along.tap_step;
                if (e.i >= down.taps || to >= tc) return nullptr;
                return weights + ((long long)(y * s + x) * tc + to) * sc + e.l;
            });
#else  // weights (R,S,SC,TC) are the matrix as it stands
            int quad = t + i * THREADS, to = col + quad % (COLUMNS / 4) * 4;
            int e = chunk * CHUNK + quad / (COLUMNS / 4);
            int count = e < inner ? tc - to : 0;
            next_r[i] = read4(weights + (long long)e * tc + to, count);
#endif
        }
        at = walk_on(at, CHUNK, along.taps, sc);
    };
    auto put = [&](float *left, float *right) {
#pragma unroll
        for (int i = 0; i < LOADS_L; ++i)
            put_column(left + l * L_PITCH + first + i * apart, L_PITCH, next_l[i]);
#pragma unroll
        for (int i = 0; i < LOADS_R; ++i) {
#if GRADIENT
            put_column(right + l * R_PITCH + first + i * apart, R_PITCH, next_r[i]);
#else
            int quad = t + i * THREADS, to = quad % (COLUMNS / 4) * 4;
            put_row(right + quad / (COLUMNS / 4) * R_PITCH + to, next_r[i]);
#endif
        }
    };

    target += first_part * (long long)n * th * tw * tc;
    int base = row;
    for (int part = first_part; part < first_part + parts_of_block; ++part) {
        float sum[8][8] = {};
        if (part > first_part) __syncthreads();  // the tiles are no longer needed
        run_chunks(sum, left4, right4, begin_of(part), begin_of(part + 1), fetch, put);
        asm volatile("" : "+r"(base));  // no address is worth a register for so long
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            Pixel o = pixel_of(base + eighth(t / ACROSS, i, ROWS), down, along);
            if (o.image >= n) continue;
            int y = down.first + o.row * down.spread;
            int x = along.first + o.col * along.spread;
            float *to = target + ((long long)(o.image * th + y) * tw + x) * tc;
#pragma unroll
            for (int j = 0; j < 8; j += 4) {
                int channel = col + eighth(t % ACROSS, j, COLUMNS);
                const float *from = has_bias && part + 1 == parts ? bias : nullptr;
                add4(to, &sum[i][j], channel, tc, part > first_part, from);
            }
        }
    }
}

#else
// ---- weight gradient ----------------------------------------------------------------
//
// The rows are the weights' entries (tap, c), the columns their k, and the inner index
// runs over output pixels. Both matrices lie in memory as they are needed: neighbouring
// c, neighbouring k. A thread always fetches the same entries of other pixels.

constexpr int ENTRIES = SOURCE4 ? 1 : 4;  // that are looked up one by one

struct Entry {
    int row, col, l;  // of x, from where its output pixel meets the first tap; channel
    bool inside;
};

__device__ __forceinline__ Entry entry_of(
    int e, int entries, int s, int c, int padding, int dilation) {
    if (e >= entries) return {0, 0, 0, false};
    int tap = e / c;
    return {tap / s * dilation - padding, tap % s * dilation - padding, e % c, true};
}

extern "C" __global__ void __launch_bounds__(THREADS, 384 / THREADS)
conv2d_weight_grad_register_tiled(
    const float *x_nhwc, const float *gy_npqk, float *gw_rsck, int n, int h, int w,
    int c, int r, int s, int k, int p, int q, int stride, int padding, int dilation,
    int parts) {
    __shared__ float4 left4[2][CHUNK * L_PITCH / 4], right4[2][CHUNK * R_PITCH / 4];
    int row = blockIdx.x * ROWS, col = blockIdx.y * COLUMNS, part = blockIdx.z;
    int entries = r * s * c, pixels = n * p * q, t = threadIdx.x;
    int chunks = (pixels + CHUNK - 1) / CHUNK;
    int begin = (int)((long long)chunks * part / parts);
    int end = (int)((long long)chunks * (part + 1) / parts);

    // This thread fetches these entries, of LOADS_L pixels of each chunk.
    const int wide = ROWS / 4, apart = THREADS / wide;
    Entry entry[ENTRIES];
#pragma unroll
    for (int of = 0; of < ENTRIES; ++of)
        entry[of] = entry_of(row + t % wide * 4 + of, entries, s, c, padding, dilation);
    Pixel at[LOADS_L];  // the next ones
#pragma unroll
    for (int i = 0; i < LOADS_L; ++i) {
        int pixel = begin * CHUNK + t / wide + i * apart;
        at[i] = {pixel / q / p, pixel / q % p, pixel % q};
    }

    Four next_l[LOADS_L], next_r[LOADS_R];
    auto fetch = [&](int chunk) {
#pragma unroll
        for (int i = 0; i < LOADS_L; ++i) {
            next_l[i] = gather([&](int of) -> const float * {
                Entry e = entry[of];
                int y = at[i].row * stride + e.row, x = at[i].col * stride + e.col;
                bool inside = e.inside && y >= 0 && y < h && x >= 0 && x < w;
                if (!inside || at[i].image >= n) return nullptr;
                return x_nhwc + ((long long)(at[i].image * h + y) * w + x) * c + e.l;
            });
            for (at[i].col += CHUNK; at[i].col >= q; at[i].col -= q)
                if (++at[i].row == p) at[i].row = 0, ++at[i].image;
        }
#pragma unroll
        for (int i = 0; i < LOADS_R; ++i) {
            int quad = t + i * THREADS, to = col + quad % (COLUMNS / 4) * 4;
            int pixel = chunk * CHUNK + quad / (COLUMNS / 4);
            int count = pixel < pixels ? k - to : 0;
            next_r[i] = read4(gy_npqk + (long long)pixel * k + to, count);
        }
    };
    auto put = [&](float *left, float *right) {
#pragma unroll
        for (int i = 0; i < LOADS_L; ++i)
            put_row(left + (t / wide + i * apart) * L_PITCH + t % wide * 4, next_l[i]);
#pragma unroll
        for (int i = 0; i < LOADS_R; ++i) {
            int quad = t + i * THREADS, to = quad % (COLUMNS / 4) * 4;
            put_row(right + quad / (COLUMNS / 4) * R_PITCH + to, next_r[i]);
        }
    };

    float sum[8][8] = {};
    run_chunks(sum, left4, right4, begin, end, fetch, put);

    float *gw = gw_rsck + (long long)part * entries * k;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        int e = row + eighth(t / ACROSS, i, ROWS);
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
            int to = col + eighth(t % ACROSS, j, COLUMNS);
            if (e < entries) write4(gw + (long long)e * k + to, &sum[i][j], k - to);
        }
    }
}

#endif

// 2-D convolution and its gradients on tensor cores: products of TF32, sums of float32.
// conv2d_registers.cu has the rung before, and says what the phases and parts are.
//
// Each factor is rounded, to nearest, to TF32's 11 significant bits: a product is off
// by up to 2⁻¹⁰ + 2⁻²² of itself, which is why this rung has to be asked for. How
// tensor cores add is not documented: nearest_code_tensor.cu grants 2⁻²² an addition.
//
// What else is new: memory is copied straight into shared memory, 16 bytes at once, by
// instructions that do not wait (cp.async), STAGES - 1 chunks ahead of the one that is
// multiplied. Channels have to come in fours.
//
// Which thread holds which entry of an mma's matrices is given (below, at mma), but not
// what an entry stands for: any rows, columns and inner entries do, if they are the
// same on both sides. Of a chunk's 16 inner entries, a thread with t = lane % 4 takes
// 4t .. 4t+3: a float4. Of 32 neighbouring rows or columns, four mmas, u = 0 .. 3,
// take as the g-th of their eight, g = lane / 4,
//
//     spread(8u + g) = 16 (g % 2) + 4 (g / 2) + u
//
// again a float4 for all four; and a thread's sums of four mmas are neighbours, too,
// and four threads write 64 bytes. A matrix stands in a tile as it does in memory:
//
//     lines      of 16 inner entries: line p is of row, or column, spread(p).
//                Eight threads read two lines of 64 bytes at once, all 32 banks.
//     columns    a line is of an inner entry e; its quad q stands at q ^ (e / 4).
//                Eight threads read quads g/2 and 4 + g/2 of entries 0, 4, 8, 12.
//
// By macro: ROWS and COLUMNS of a block's tile; WARPS_DOWN and WARPS_ACROSS, how its
// warps stand; STAGES; GRADIENT as in conv2d_registers.cu; PORTABLE, 1 to multiply by
// shuffles and fmas, and to copy by plain assignments.

constexpr int CHUNK = 16, QUADS = CHUNK / 4, THREADS = WARPS_DOWN * WARPS_ACROSS * 32;
constexpr int WARP_ROWS = ROWS / WARPS_DOWN, WARP_COLUMNS = COLUMNS / WARPS_ACROSS;
constexpr int EIGHTS_L = WARP_ROWS / 8, EIGHTS_R = WARP_COLUMNS / 8;  // multiples of 4
constexpr int TILE_L = ROWS * QUADS, TILE_R = COLUMNS * QUADS;  // float4s of a stage
constexpr int LOADS_L = TILE_L / THREADS, LOADS_R = TILE_R / THREADS;
constexpr int SUMS = EIGHTS_L * EIGHTS_R * 2;  // of a thread; so many blocks should fit
constexpr int RESIDENT = (SUMS > 64 ? 256 : SUMS > 32 ? 384 : 512) / THREADS;

// ---- what is not C++ ----------------------------------------------------------------

// c += a b for a warp: a 16 × 8, b 8 × 8, c 16 × 8. With g = lane / 4 and t = lane % 4
// (PTX ISA, "Matrix fragments for mma.m16n8k8"),
//     a[0 .. 3]   rows g, g+8, g, g+8, columns t, t, t+4, t+4
//     b[0 .. 1]   rows t, t+4, column g
//     c[0 .. 3]   rows g, g, g+8, g+8, columns 2t, 2t+1, 2t, 2t+1
__device__ __forceinline__ void mma(
    float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if PORTABLE
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (int k = 0; k < 8; ++k) {
        float f[4];  // of a in two rows, of b in two columns
        for (int i = 0; i < 4; ++i) {
            unsigned mine = i < 2 ? a[k / 4 * 2 + i] : b[k / 4];
            int from = (i < 2 ? g : 2 * t + i - 2) * 4 + k % 4;
            f[i] = __uint_as_float(__shfl_sync(~0u, mine, from) & 0xffffe000u);
        }
        for (int i = 0; i < 4; ++i) c[i] = fmaf(f[i / 2], f[2 + i % 2], c[i]);
    }
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Round to TF32, to nearest, halves away from zero: mma cuts off what follows the 11th
// bit. It is what cvt.rna.tf32.f32 makes, in fewer steps. By the fma, what is not
// finite does not overflow into a number, but is NaN.
__device__ __forceinline__ unsigned tf32(float value) {
    float next = __uint_as_float(__float_as_uint(value) + 0x1000u);
    return __float_as_uint(fmaf(value, 0.0f, next));
}

// Copy a float4 to shared memory, or zeros, for which nothing is read. It is there when
// WAIT_FOR_CHUNK says so, to this thread.
__device__ __forceinline__ void copy4(float4 *to, const float *from, bool there) {
#if PORTABLE
    *to = there ? *(const float4 *)from : make_float4(0, 0, 0, 0);
#else
    unsigned place = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place),
                 "l"(from), "r"(there ? 16 : 0));
#endif
}

// Copies are counted by chunks: wait for those of all but the last STAGES - 2.
#if PORTABLE
#define END_OF_CHUNK()
#define WAIT_FOR_CHUNK()
#else
#define END_OF_CHUNK() asm volatile("cp.async.commit_group;")
#define WAIT_FOR_CHUNK() \
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory")
#endif

// ---- a block's product --------------------------------------------------------------

// Which row, or column, of the matrix is the p-th of a tile, or of a warp's share.
__device__ __forceinline__ int spread(int p) {
    return p / 32 * 32 + p % 2 * 16 + p % 8 / 2 * 4 + p / 8 % 4;
}

// What this thread gives to each mma: v[s][e][u] is of inner entry 4t + 2s + e and of
// row, or column, g of the u-th eight from `first` on.
template <int EIGHTS>
__device__ __forceinline__ void take_lines(
    unsigned (&v)[2][2][EIGHTS], const float4 *tile, int first) {
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int u = 0; u < EIGHTS; ++u) {
        float4 four = tile[(first + u * 8 + g) * QUADS + t];
        v[0][0][u] = tf32(four.x), v[0][1][u] = tf32(four.y);
        v[1][0][u] = tf32(four.z), v[1][1][u] = tf32(four.w);
    }
}

template <int EIGHTS>
__device__ __forceinline__ void take_columns(
    unsigned (&v)[2][2][EIGHTS], const float4 *tile, int first, int width) {
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < EIGHTS; ++i) {
        int s = i / (EIGHTS / 2), e = i / (EIGHTS / 4) % 2, u = i % (EIGHTS / 4) * 4;
        int quad = first / 4 + u * 2 + g % 2 * 4 + (g / 2 ^ t);
        float4 four = tile[(t * 4 + s * 2 + e) * (width / 4) + quad];
        v[s][e][u] = tf32(four.x), v[s][e][u + 1] = tf32(four.y);
        v[s][e][u + 2] = tf32(four.z), v[s][e][u + 3] = tf32(four.w);
    }
}

// A warp's: [i][j] of eights 2i, 2i+1 down, and j across, as mma has it.
typedef float Sums[EIGHTS_L / 2][EIGHTS_R][4];

// Add a chunk's products.
__device__ __forceinline__ void multiply(
    Sums &sum, const float4 *left, const float4 *right) {
    int row = threadIdx.x / 32 / WARPS_ACROSS * WARP_ROWS;
    int col = threadIdx.x / 32 % WARPS_ACROSS * WARP_COLUMNS;
    unsigned l[2][2][EIGHTS_L], r[2][2][EIGHTS_R];
#if GRADIENT == 2
    take_columns(l, left, row, ROWS);
#else
    take_lines(l, left, row);
#endif
#if GRADIENT == 1
    take_lines(r, right, col);
#else
    take_columns(r, right, col, COLUMNS);
#endif
#pragma unroll
    for (int s = 0; s < 2; ++s)
#pragma unroll
        for (int j = 0; j < EIGHTS_R; ++j) {
            unsigned b[2] = {r[s][0][j], r[s][1][j]};
#pragma unroll
            for (int i = 0; i < EIGHTS_L / 2; ++i) {
                unsigned a[4] = {l[s][0][2 * i], l[s][0][2 * i + 1], l[s][1][2 * i],
                                 l[s][1][2 * i + 1]};
                mma(sum[i][j], a, b);
            }
        }
}

// Run parts first .. last-1: part p is chunks begin_of(p) .. begin_of(p + 1) - 1.
// fetch(chunk, left, right) starts a chunk's copies; finish(part, sum) takes the sums.
template <class Begin, class Fetch, class Finish>
__device__ __forceinline__ void run_parts(
    int first, int last, Begin begin_of, Fetch fetch, Finish finish) {
#if PORTABLE
    __shared__ float4 stages[STAGES * (TILE_L + TILE_R)];
#else
    extern __shared__ float4 stages[];  // as large, which may be more than a static one
#endif
    float4 *left = stages, *right = stages + STAGES * TILE_L;
    int chunk = begin_of(first), next = chunk, end = begin_of(last), from = 0, to = 0;
    auto fetch_next = [&]() {
        if (next < end) fetch(next, left + to * TILE_L, right + to * TILE_R);
        END_OF_CHUNK();  // also of one that is not there, for they are counted
        ++next, to = to + 1 < STAGES ? to + 1 : 0;
    };
    for (int i = 0; i < STAGES - 1; ++i) fetch_next();
    for (int part = first; part < last; ++part) {
        Sums sum = {};
        for (int stop = begin_of(part + 1); chunk < stop; ++chunk) {
            WAIT_FOR_CHUNK();
            __syncthreads();  // now all threads' copies are there; and the stage that
            fetch_next();     // is filled next was last read before this barrier
            multiply(sum, left + from * TILE_L, right + from * TILE_R);
            from = from + 1 < STAGES ? from + 1 : 0;
        }
        finish(part, sum);
    }
}

// Hand out four neighbouring sums at a time, by write(at, column, four): line_of(row)
// is where that row starts in memory, or null.
template <class Line, class Write>
__device__ __forceinline__ void put_sums(
    const Sums &sum, int row, int col, int columns, Line line_of, Write write) {
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    row += threadIdx.x / 32 / WARPS_ACROSS * WARP_ROWS;
    col += threadIdx.x / 32 % WARPS_ACROSS * WARP_COLUMNS;
#pragma unroll
    for (int u = 0; u < EIGHTS_L; ++u) {
        float *line = line_of(row + spread(u * 8 + g));
#pragma unroll
        for (int i = 0; i < EIGHTS_R / 2; ++i) {
            int j = i / 2 * 4, v = u % 2 * 2 + i % 2, to = col + i * 16 + t * 4;
            const float(&of)[EIGHTS_R][4] = sum[u / 2];
            float4 four = {of[j][v], of[j + 1][v], of[j + 2][v], of[j + 3][v]};
            if (line && to < columns) write((float4 *)(line + to), to, four);
        }
    }
}

// Copy a chunk of a matrix (lines, columns) that lies in memory as it is needed.
__device__ __forceinline__ void copy_columns(
    float4 *tile, const float *matrix, int line, int col, int lines, int columns) {
    constexpr int wide = COLUMNS / 4;
    int t = threadIdx.x, q = t % wide;
#pragma unroll
    for (int i = 0; i < LOADS_R; ++i) {
        int e = t / wide + i * (THREADS / wide), to = col + q * 4;
        copy4(tile + e * wide + (q ^ e / 4), matrix + ((line + e) * columns + to),
              line + e < lines && to < columns);
    }
}

struct Pixel {
    int image, row, col;
};
#define OUTSIDE (-0x40000000)  // a row above any image, by however many taps

#if GRADIENT < 2
// ---- forward and input gradient: as in conv2d_registers.cu --------------------------

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

__device__ __forceinline__ Walk walk_of(int entry, int taps, int channels) {
    if (taps * channels == 0) return {0, 0, 0};  // there are no entries
    int tap = entry / channels;
    return {tap / taps, tap % taps, entry % channels};
}

__device__ __forceinline__ float4 add4(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
conv2d_tensor_cores(
    const float *source, const float *weights, const float *bias, float *target,
    int has_bias, int n, int sh, int sw, int sc, int r, int s, int th, int tw, int tc,
    int stride, int padding, int dilation, int period, int parts, int parts_of_block) {
    int first_part = blockIdx.z * parts_of_block % parts, t = threadIdx.x;
    int phase = blockIdx.z * parts_of_block / parts;
    Axis down = axis_of(phase / stride, th, r, stride, padding, dilation, period);
    Axis along = axis_of(phase % stride, tw, s, stride, padding, dilation, period);
    int row = blockIdx.x * ROWS, col = blockIdx.y * COLUMNS;
    if (row >= n * down.count * along.count) return;  // the first phase has more
    int inner = down.taps * along.taps * sc, chunks = (inner + CHUNK - 1) / CHUNK;
    auto begin_of = [&](int part) { return (int)((long long)chunks * part / parts); };

    // This thread copies quad t % 4 of each chunk, of LOADS_L pixels.
    int mine = spread(t / QUADS);
    Pixel corner[LOADS_L];  // what each meets through the first tap
    int start[LOADS_L];     // where that stands in the source
#pragma unroll
    for (int i = 0; i < LOADS_L; ++i) {
        Pixel o = pixel_of(row + mine + i * (THREADS / QUADS), down, along);
        int y = down.from + o.row * down.step, x = along.from + o.col * along.step;
        corner[i] = {o.image, o.image < n ? y : OUTSIDE, x};
        start[i] = ((o.image * sh + y) * sw + x) * sc;
    }
    int begin = begin_of(first_part) * CHUNK + t % QUADS * 4;
    Walk at = walk_of(begin, along.taps, sc), on = walk_of(CHUNK, along.taps, sc);

    auto fetch = [&](int chunk, float4 *left, float4 *right) {
        int y = at.i * down.reach, x = at.j * along.reach;
        int from = (y * sw + x) * sc + at.l;
        bool tap = at.i < down.taps;
#pragma unroll
        for (int i = 0; i < LOADS_L; ++i) {
            bool inside = (unsigned)(corner[i].row + y) < (unsigned)sh &&
                          (unsigned)(corner[i].col + x) < (unsigned)sw;
            copy4(left + t + i * THREADS, source + (start[i] + from), tap && inside);
        }
#if GRADIENT  // weights (R,S,TC,SC): a column of the matrix lies in a row of memory
        int to = col + mine, ty = down.tap + at.i * down.tap_step;
        int tx = along.tap + at.j * along.tap_step;
        int there = ((ty * s + tx) * tc + to) * sc + at.l;
#pragma unroll
        for (int i = 0; i < LOADS_R; ++i) {
            copy4(right + t + i * THREADS, weights + there, tap && to < tc);
            to += THREADS / QUADS, there += THREADS / QUADS * sc;
        }
#else  // weights (R,S,SC,TC) are the matrix as it stands
        copy_columns(right, weights, chunk * CHUNK, col, inner, tc);
#endif
        at.l += on.l, at.j += on.j, at.i += on.i;  // to the next chunk
        if (at.l >= sc) at.l -= sc, ++at.j;
        if (at.j >= along.taps) at.j -= along.taps, ++at.i;
    };

    target += first_part * (long long)n * th * tw * tc;
    auto finish = [&](int part, const Sums &sum) {
        bool after = part > first_part, last = has_bias && part + 1 == parts;
        auto line_of = [&](int index) -> float * {
            Pixel o = pixel_of(index, down, along);
            int y = down.first + o.row * down.spread;
            int x = along.first + o.col * along.spread;
            if (o.image >= n) return nullptr;
            return target + ((long long)(o.image * th + y) * tw + x) * tc;
        };
        put_sums(sum, row, col, tc, line_of, [&](float4 *at, int channel, float4 four) {
            if (after) four = add4(*at, four);
            if (last) four = add4(four, *(const float4 *)(bias + channel));
            *at = four;
        });
    };
    run_parts(first_part, first_part + parts_of_block, begin_of, fetch, finish);
}

#else
// ---- weight gradient: as in conv2d_registers.cu -------------------------------------

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
conv2d_weight_grad_tensor_cores(
    const float *x_nhwc, const float *gy_npqk, float *gw_rsck, int n, int h, int w,
    int c, int r, int s, int k, int p, int q, int stride, int padding, int dilation,
    int parts) {
    int row = blockIdx.x * ROWS, col = blockIdx.y * COLUMNS, part = blockIdx.z;
    int entries = r * s * c, pixels = n * p * q, chunks = (pixels + CHUNK - 1) / CHUNK;
    auto begin_of = [&](int of) { return (int)((long long)chunks * of / parts); };

    // This thread copies quad t % wide of LOADS_L pixels of each chunk.
    constexpr int wide = ROWS / 4, apart = THREADS / wide;
    int t = threadIdx.x, entry = row + t % wide * 4, tap = entry / c;
    int down = entry < entries ? tap / s * dilation - padding : OUTSIDE;
    int along = tap % s * dilation - padding, channel = entry % c;
    Pixel at[LOADS_L];  // the next ones
#pragma unroll
    for (int i = 0; i < LOADS_L; ++i) {
        int pixel = begin_of(part) * CHUNK + t / wide + i * apart;
        at[i] = {pixel / q / p, pixel / q % p, pixel % q};
    }
    Pixel on = {CHUNK / q / p, CHUNK / q % p, CHUNK % q};  // from chunk to chunk

    auto fetch = [&](int chunk, float4 *left, float4 *right) {
#pragma unroll
        for (int i = 0; i < LOADS_L; ++i) {
            int e = t / wide + i * apart;
            int y = at[i].row * stride + down, x = at[i].col * stride + along;
            bool inside = (unsigned)y < (unsigned)h && (unsigned)x < (unsigned)w;
            int from = ((at[i].image * h + y) * w + x) * c + channel;
            copy4(left + e * wide + (t % wide ^ e / 4), x_nhwc + from,
                  inside && at[i].image < n);
            at[i].image += on.image, at[i].row += on.row, at[i].col += on.col;
            if (at[i].col >= q) at[i].col -= q, ++at[i].row;
            if (at[i].row >= p) at[i].row -= p, ++at[i].image;
        }
        copy_columns(right, gy_npqk, chunk * CHUNK, col, pixels, k);
    };

    float *gw = gw_rsck + part * (long long)entries * k;
    auto line_of = [&](int e) { return e < entries ? gw + (long long)e * k : nullptr; };
    auto write = [](float4 *at, int, float4 four) { *at = four; };
    run_parts(part, part + 1, begin_of, fetch, [&](int, const Sums &sum) {
        put_sums(sum, row, col, k, line_of, write);
    });
}

#endif

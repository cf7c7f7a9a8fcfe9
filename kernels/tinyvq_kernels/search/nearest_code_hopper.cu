// Nearest-code search on Hopper: the filter of nearest_code_tensor.cu, faster.
//
// There each warp brings both factors into its registers. Tensor cores of compute
// capability 9.0 have another instruction, and only it keeps them busy: by `wgmma` four
// warps side by side, a *warpgroup*, multiply 64 × 8 by 8 × 128 values, which stay in
// shared memory. It is asynchronous: threads begin it and go on, and later the sums are
// in their registers. So a block is a small factory, a job for each warp:
//
//     warps 0-3, 4-7   multiply: 64 rows of z each, by all codes, 128 at a time; and
//                      store of each row the largest of each GROUP scores
//     warp 8           sends for the codes, 128 codes × 32 values, a *slab*, at a time
//     warps 9, 10      fetch z in slabs, and round it to TF32
//
// Slabs lie in two rings of places, for codes and for z. Each place has two barriers:
// `full` says that it may be read, `empty` that it may be written; warps meet nowhere
// else. A ring's slabs are counted without end: number p lies in place p % places, and
// p / places, odd or even, tells a barrier which round is meant.
//
// All codes pass by the same slabs of z where these fit in their ring, D <= 256; else z
// passes as often as codes do. A block does not end after 128 rows: it takes others,
// whose z comes in while the last codes pass.
//
// Of each row it stores no code, but the largest of each GROUP scores; what is done
// with them, nearest_code_settle.cu tells. To find them takes two instructions a score,
// and best and second would take five: as long as the products, if D is 64. Even so, a
// warpgroup that looks through scores begins no products. So it has two sets of sums:
// the tensor cores fill one while it looks through the other. And if each block read
// all codes, the L2 cache would be too slow. So of the CLUSTER blocks of a cluster,
// which run side by side, each reads a part for all.
//
// The error bound of nearest_code_tensor.cu holds. Of both factors wgmma reads the bits
// that TF32 has, and they were rounded to these before, to nearest, as there. A score
// is D additions in tensor cores and one of the start, last here and first there.
//
// By macro: GROUP, 4, 8 or 16; CLUSTER, 1 or 2; AHEAD, see step. D is a multiple of 4.
// Source: NVIDIA, "Parallel Thread Execution ISA": mbarrier, cp.async.bulk, wgmma.

#define INLINE __device__ __forceinline__
#define ISSUE(instruction, ...) asm volatile(instruction ::__VA_ARGS__ : "memory")
#define INFINITE __int_as_float(0x7f800000)
#define ALL_LANES 0xffffffffu
constexpr int TILE = 128, DEEP = 32;         // a slab: rows or codes × values,
constexpr int BYTES = TILE * DEEP * 4;       // 16 KiB
constexpr int PLACES = 6, PLACES_Z = 8;      // 224 KiB of the 227 that a block can have
constexpr int WARPGROUPS = 2, LOADERS = 64;  // that multiply; threads that fetch z
constexpr int THREADS = WARPGROUPS * 128 + 32 + LOADERS;
constexpr int LAG = 3;                       // slabs that come while one is rounded

// ---- barriers and copies ------------------------------------------------------------

INLINE unsigned address_of(const void *shared) {
    return (unsigned)__cvta_generic_to_shared(shared);
}

// A round of a barrier is over when `count` have arrived, and all bytes it expects.
INLINE void barrier_init(unsigned barrier, int count) {
    ISSUE("mbarrier.init.shared::cta.b64 [%0], %1;", "r"(barrier), "r"(count));
}

INLINE void arrive(unsigned barrier) {
    ISSUE("mbarrier.arrive.shared::cta.b64 _, [%0];", "r"(barrier));
}

INLINE void arrive_and_expect(unsigned at, int n) {
    ISSUE("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;", "r"(at), "r"(n));
}

// Arrive at the same barrier of block `rank` of the cluster.
INLINE void arrive_there(unsigned barrier, int rank) {
    ISSUE("{\n .reg .b32 there;\n mapa.shared::cluster.u32 there, %0, %1;\n"
          " mbarrier.arrive.shared::cluster.b64 _, [there];\n}",
          "r"(barrier), "r"(rank));
}

// Is the round of this parity over, or soon? On a new barrier that of parity 1 is.
INLINE bool over(unsigned at, int parity, int nanoseconds) {
    unsigned yes;
    asm volatile("{\n .reg .pred p;\n mbarrier.try_wait.parity.shared::cta.b64 p, [%1],"
                 " %2, %3;\n selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(yes) : "r"(at), "r"(parity), "r"(nanoseconds) : "memory");
    return yes;
}

INLINE void wait(unsigned barrier, int parity) {
    while (!over(barrier, parity, 1000000)) {}
}

INLINE void meet_cluster() { ISSUE("barrier.cluster.arrive;\n barrier.cluster.wait;"); }

// Copy bytes to the same address in each block of the cluster, and tell its barrier.
INLINE void copy_to_all(unsigned to, const void *from, int bytes, unsigned barrier) {
    ISSUE("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
          ".multicast::cluster [%0], [%1], %2, [%3], %4;",
          "r"(to), "l"(from), "r"(bytes), "r"(barrier), "h"((short)(CLUSTER * 2 - 1)));
}

// Copy so many bytes, and zeros up to 16.
INLINE void copy_piece(unsigned to, const void *from, int n) {
    ISSUE("cp.async.cg.shared.global [%0], [%1], 16, %2;", "r"(to), "l"(from), "r"(n));
}

// Pieces since the last call are a batch.
INLINE void end_pieces() { ISSUE("cp.async.commit_group;"); }
template <int BATCHES>
INLINE void wait_for_pieces_but() { ISSUE("cp.async.wait_group %0;", "n"(BATCHES)); }

// wgmma reads shared memory by another way than threads write it, the *asynchronous
// proxy*. What a thread wrote it must show there before it tells others that it did.
INLINE void show_to_tensor_cores() { ISSUE("fence.proxy.async.shared::cta;"); }

// ---- how a slab lies ----------------------------------------------------------------

// Its rows are 128 bytes, eight pieces of 16. Tensor cores read the same piece of eight
// rows at once; so that these are in different banks, row r has piece q at place
// q ^ (r % 8). This is the 128-byte *swizzle*, a pattern of eight rows, 1024 bytes. The
// hardware does the same to addresses, bits 4-6 ^= bits 7-9: slabs begin at a multiple.
INLINE int piece_at(int row, int q) { return row * 8 + (q ^ row % 8); }

// What wgmma is told of a factor, in units of 16 bytes:
//
//     bits 0-13    where it begins; for the next 8 values of all rows, 32 bytes further
//     bits 16-29   from column to column of pieces: with a swizzle not used, and 1
//     bits 32-45   from eight rows to the next eight: 1024 bytes
//     bits 62-63   the swizzle: 1, of 128 bytes
INLINE unsigned long long described(unsigned address) {
    return 1ull << 62 | 64ull << 32 | 1ull << 16 | (address & 0x3ffff) >> 4;
}

// Round to TF32, to nearest; halves away from zero.
INLINE float tf32(float value) {
    return __uint_as_float((__float_as_uint(value) + 0x1000u) & 0xffffe000u);
}
INLINE float4 rounded(float4 v) {
    return make_float4(tf32(v.x), tf32(v.y), tf32(v.z), tf32(v.w));
}

// ---- the product of a warpgroup -----------------------------------------------------

#define FOUR(c, i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define SIXTEEN(c, i) FOUR(c, i), FOUR(c, i + 4), FOUR(c, i + 8), FOUR(c, i + 12)
#define ALL(c) SIXTEEN(c, 0), SIXTEEN(c, 16), SIXTEEN(c, 32), SIXTEEN(c, 48)

// Begin c = a b, or c += a b, for 64 rows and 128 codes of 8 values. Of c, a thread of
// warp w of the group will have, with g = lane / 4 and t = lane % 4,
//
//     c[4 j .. 4 j + 3]   rows 16 w + g, the same, 16 w + g + 8, the same
//                         codes 8 j + 2 t, 8 j + 2 t + 1, and so again
INLINE void begin_product(
    float (&c)[64], unsigned long long a, unsigned long long b, int add) {
    asm volatile(
        "{\n .reg .pred add;\n setp.ne.b32 add, %66, 0;\n"
        " wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, "
        "%31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, "
        "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, "
        "%61, %62, %63}, %64, %65, add, 1, 1;\n}"
        : ALL(c) : "l"(a), "l"(b), "r"(add));
}

// Before products: what threads did to the registers of c comes first.
INLINE void registers_ready() { ISSUE("wgmma.fence.sync.aligned;"); }
// Products since the last call are a batch; batches end in their order.
INLINE void end_batch() { ISSUE("wgmma.commit_group.sync.aligned;"); }
// To the compiler c was whole when its product began: it may read c from here only.
template <int BATCHES>
INLINE void wait_for_all_but(float (&c)[64]) {
    ISSUE("wgmma.wait_group.sync.aligned %0;", "n"(BATCHES));
    asm volatile("" : ALL(c)::"memory");
}

// ---- the filter ---------------------------------------------------------------------

// What a thread stores of a row and a tile: of each GROUP scores of those that it has,
// one behind the other, the largest. Its four neighbours' stand side by side.
constexpr int EACH = 32 / GROUP;
struct alignas(EACH < 4 ? 8 : 16) Maxima {
    float of[EACH];
};

// Of rows g and g + 8; start_m begins with that of the first score's code.
INLINE void find_maxima(Maxima (&rows)[2], const float (&c)[64], const float *start_m) {
#pragma unroll
    for (int j = 0; j < 16; ++j) {
        float2 start = __ldg((const float2 *)(start_m + j * 8));
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            float a = c[j * 4 + i * 2] + start.x, b = c[j * 4 + i * 2 + 1] + start.y;
            float &most = rows[i].of[j * 2 / GROUP];
            most = j * 2 % GROUP == 0 ? fmaxf(a, b) : fmaxf(most, fmaxf(a, b));
        }
    }
}

// Where places begin, and barriers, 8 bytes each; and a block's work: `rounds` times
// 128 rows by `tiles` times 128 codes, each a job.
struct Work {
    unsigned codes, z, full, empty, full_z, empty_z;
    int rounds, tiles, slabs, first_tile;
    __device__ bool z_stays() const { return slabs <= PLACES_Z; }
};

// A thread of warp 8. Its copies write by the asynchronous proxy: they need no fence.
INLINE void bring_codes(const Work &work, const float4 *packed, int rank) {
    constexpr int PART = BYTES / CLUSTER;
    int slabs = work.tiles * work.slabs;
    packed += (size_t)work.first_tile * work.slabs * (BYTES / 16) + rank * (PART / 16);
    for (int p = 0; p < work.rounds * slabs; ++p) {
        unsigned place = p % PLACES, full = work.full + place * 8;
        wait(work.empty + place * 8, p / PLACES % 2 ^ 1);  // in all blocks
        arrive_and_expect(full, BYTES);
        copy_to_all(work.codes + place * BYTES + rank * PART,
                    packed + (size_t)(p % slabs) * (BYTES / 16), PART, full);
    }
}

// Warps 9 and 10. Thread i copies a piece of every eighth row of a slab, and rounds it
// when it came; as soon as no place is empty, for none may be before it is shown.
INLINE void bring_z(
    const Work &work, float4 *places, const float *z_nd, int i, int n, int depth) {
    int q = i % 8, row = i / 8, slabs = (work.z_stays() ? 1 : work.tiles) * work.slabs;
    for (int sent = 0, shown = 0, total = work.rounds * slabs; shown < total;) {
        int place = sent % PLACES_Z, parity = sent / PLACES_Z % 2 ^ 1;
        bool more = sent < total && sent - shown <= LAG;
        if (more && over(work.empty_z + place * 8, parity, 0)) {
            int first = (blockIdx.x + sent / slabs * gridDim.x) * TILE + row;
            int d = sent++ % work.slabs * DEEP + q * 4;
            unsigned to = work.z + place * BYTES;
            for (int j = 0; j < TILE; j += 8) {
                bool inside = first + j < n && d < depth;
                size_t from = inside ? (size_t)(first + j) * depth + d : 0;
                copy_piece(to + piece_at(row + j, q) * 16, z_nd + from, inside * 16);
            }
            end_pieces();
        } else if (shown < sent) {
            if (sent - shown > LAG) wait_for_pieces_but<LAG>();
            else wait_for_pieces_but<0>();
            place = shown++ % PLACES_Z;
            for (int j = 0; j < TILE; j += 8) {
                float4 &piece = places[place * (BYTES / 16) + piece_at(row + j, q)];
                piece = rounded(piece);
            }
            show_to_tensor_cores();
            arrive(work.full_z + place * 8);
        }
    }
}

// A warpgroup that multiplies. It walks through jobs three times, one behind the other:
// to begin products, to look through scores, and to give back places.
struct Multiplier {
    Work work;
    const float *start_m;
    Maxima *maxima;                                   // (tiles, N, 4)
    int group, n, begun, freed, freed_z, freed_slab;  // slabs; the last in its round
    int tile, round;                                  // of the job that is to begin

    // Begin the products of a slab of a job, as one batch.
    INLINE void begin(float (&c)[64], int slab) {
        int p = work.z_stays() ? round * work.slabs + slab : begun;
        int place_z = p % PLACES_Z, place = begun % PLACES;
        wait(work.full_z + place_z * 8, p / PLACES_Z % 2);
        wait(work.full + place * 8, begun / PLACES % 2);
        unsigned z = work.z + place_z * BYTES + group * (BYTES / WARPGROUPS);
        unsigned e = work.codes + place * BYTES;
        registers_ready();
#pragma unroll
        for (int i = 0; i < DEEP / 8; ++i)
            begin_product(c, described(z + i * 32), described(e + i * 32), slab + i);
        end_batch();
        ++begun;
    }

    // Give back the slabs before number `until`, whose products are done. A warp knows
    // that of its own only, so each arrives; for codes, in all blocks that send them.
    INLINE void free(int until) {
        int lane = threadIdx.x % 32, last = (work.tiles - 1) * work.slabs;
#pragma unroll 1
        for (; freed < until; ++freed) {
            if (lane < CLUSTER) arrive_there(work.empty + freed % PLACES * 8, lane);
            if (!work.z_stays() || freed_slab >= last) {
                if (lane == 0) arrive(work.empty_z + freed_z % PLACES_Z * 8);
                ++freed_z;
            }
            freed_slab = freed_slab + 1 < last + work.slabs ? freed_slab + 1 : 0;
        }
    }

    // Look through the scores of the job before, and store what was found.
    INLINE void finish(float (&c)[64]) {
        int t = threadIdx.x % 4, number = (tile > 0 ? tile : work.tiles) - 1;
        int row = (blockIdx.x + (tile > 0 ? round : round - 1) * gridDim.x) * TILE;
        number += work.first_tile;
        row += threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
        Maxima *to = maxima + ((size_t)number * n + row) * 4 + t;
        Maxima found[2];
        find_maxima(found, c, start_m + number * TILE + t * 2);
        if (row < n) to[0] = found[0];
        if (row + 8 < n) to[8 * 4] = found[1];
    }

    // Begin AHEAD slabs of a job, to keep the tensor cores busy; look through the job
    // before; begin the rest. At the end the last batches are still under way.
    INLINE void step(float (&now)[64], float (&before)[64]) {
#pragma unroll
        for (int slab = 0; slab < AHEAD; ++slab) begin(now, slab);
        wait_for_all_but<AHEAD>(before);
        free(begun - AHEAD);
        if (tile + round > 0) finish(before);
#pragma unroll 1
        for (int slab = AHEAD; slab < work.slabs; ++slab) {
            begin(now, slab);
            wait_for_all_but<1>(before);
            free(begun - 1);
        }
        if (++tile == work.tiles) tile = 0, ++round;
    }

    INLINE void last(float (&c)[64]) {
        wait_for_all_but<0>(c);
        finish(c);
    }
    INLINE void run() {
        float even[64] = {}, odd[64] = {};  // the sums of jobs 0, 2, .. and 1, 3, ..
        for (;;) {
            step(even, odd);
            if (round == work.rounds) return last(even);
            step(odd, even);
            if (round == work.rounds) return last(odd);
        }
    }
};

// Blocks (x, y) multiply by the y-th share of the tiles.
extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
    nearest_code_filter_hopper(
        const float *z_nd, const float4 *packed, const float *start_m, Maxima *maxima,
        int n, int depth, int tiles, int share) {
    extern __shared__ float4 pool[];
    __shared__ unsigned long long barriers[4][PLACES_Z];
    unsigned base = (address_of(pool) + 1023) / 1024 * 1024, at = address_of(barriers);
    int t = threadIdx.x, warp = __shfl_sync(ALL_LANES, t / 32, 0);
    int rank = blockIdx.x % CLUSTER, first = blockIdx.x - rank;
    Work work = {base, base + PLACES * BYTES, at, at + 64, at + 128, at + 192};
    // All blocks of a cluster go as many rounds, even if one has no rows for the last.
    work.rounds = ((n + TILE - 1) / TILE - first + gridDim.x - 1) / gridDim.x;
    work.first_tile = blockIdx.y * share;
    work.tiles = min(share, tiles - work.first_tile);
    work.slabs = (depth + DEEP - 1) / DEEP;
    if (t < PLACES_Z) {
        barrier_init(work.full + t * 8, 1);
        barrier_init(work.empty + t * 8, WARPGROUPS * 4 * CLUSTER);
        barrier_init(work.full_z + t * 8, LOADERS);
        barrier_init(work.empty_z + t * 8, WARPGROUPS * 4);
    }
    ISSUE("fence.mbarrier_init.release.cluster;");  // for other blocks, and for copies
    meet_cluster();
    if (warp < WARPGROUPS * 4) {
        Multiplier{work, start_m, maxima, warp / 4, n}.run();
    } else if (warp > WARPGROUPS * 4) {
        float4 *z = pool + (work.z - address_of(pool)) / 16;
        bring_z(work, z, z_nd, t - WARPGROUPS * 128 - 32, n, depth);
    } else if (t % 32 == 0) {
        bring_codes(work, packed, rank);
    }
    __syncwarp();
    meet_cluster();  // none ends while another may still write or arrive here
}

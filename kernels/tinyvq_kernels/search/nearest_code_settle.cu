// Nearest-code search on Hopper: what comes before and after its filter.
//
//     pack      the codes as the filter reads them, and as `settle` does; starts
//     filter    in nearest_code_hopper.cu: TF32 scores, of which it writes down only
//               the largest of each GROUP codes, a *group*
//     settle    of each row, exact scores of the groups where the best code may be
//
// nearest_code_tensor.cu has the filter find each row's best code and its second score,
// which is five instructions a score. A largest is two. It does not tell which code it
// is of; but that is found by GROUP exact scores, and these also decide: where the
// second best is not in the same group, no row needs to be searched once more.
//
// Why the answer is exact. A TF32 score is off by no more than `off`, which is derived
// in nearest_code_tensor.cu. Let a row's largest TF32 score be T, that of some code t,
// and let w be the code that wins by exact scores. Then
//
//     TF32 score of w  >=  exact score of w - off  >=  exact score of t - off
//                      >=  T - 2 off
//
// so the largest score of w's group is no less: that group is looked at, and w, or an
// equal of a lower number, wins there. Groups below T - 2 off cannot hold it.
//
// Which codes are a group? Those whose scores one thread of the filter holds one behind
// the other. Of a tile of 128 codes thread t of four has those where c % 8 / 2 == t,
// two of each eight, 32 scores: EACH groups. `pack` puts the codes of a group side by
// side, four values of the first, four of the second, ..: LANES threads with a code
// each read whole lines of memory.
//
// By macro: GROUP, 4, 8 or 16: to settle a row, about GROUP codes are read, and
// M / GROUP maxima are written and read again. D is a multiple of 4.

#define INLINE __device__ __forceinline__
#define INFINITE __int_as_float(0x7f800000)
#define ALL_LANES 0xffffffffu
constexpr int TILE = 128, DEEP = 32;  // a slab: codes × values
constexpr int EACH = 32 / GROUP;      // groups of a thread of the filter; and float4
                                      // that hold a row's maxima of a tile
constexpr int IN_TILE = 4 * EACH;     // groups
constexpr int THREADS = 256;

// The i-th code of a group.
INLINE int code_of(int group, int i) {
    int t = group % IN_TILE / EACH, score = group % EACH * GROUP + i;
    return group / IN_TILE * TILE + score / 2 * 8 + t * 2 + score % 2;
}

// Where values 4 d .. 4 d + 3 of a code lie among all groups; `fours` is D / 4.
INLINE size_t piece_of_group(int code, int d, int fours) {
    int t = code % 8 / 2, score = code % TILE / 8 * 2 + code % 2;
    int group = code / TILE * IN_TILE + t * EACH + score / GROUP;
    return ((size_t)group * fours + d) * GROUP + score % GROUP;
}

// The same in slabs of `slabs` a tile: as in nearest_code_hopper.cu.
INLINE size_t piece_of_slab(int code, int d, int slabs) {
    int row = code % TILE, q = d % 8, slab = code / TILE * slabs + d / 8;
    return (size_t)slab * (TILE * 8) + row * 8 + (q ^ row % 8);
}

// Round to TF32, to nearest; halves away from zero.
INLINE float tf32(float value) {
    return __uint_as_float((__float_as_uint(value) + 0x1000u) & 0xffffe000u);
}

// ---- pack ---------------------------------------------------------------------------

// |value| as bits, which order as the values do, NaN above infinity above all numbers.
INLINE unsigned long long size_bits(float value) {
    return __double_as_longlong(fabs((double)value));
}

INLINE int size_bits4(float4 v) {
    int most = max(__float_as_int(v.x) & 0x7fffffff, __float_as_int(v.y) & 0x7fffffff);
    most = max(most, __float_as_int(v.z) & 0x7fffffff);
    return max(most, __float_as_int(v.w) & 0x7fffffff);
}

// What code_starts in nearest_code.cu does, in the same way, and both packed copies,
// with zeros beyond the last code and value. Starts beyond the last code are -infinity:
// it is never best. A block STARTS codes, of which it fetches CHUNK values at a time.
constexpr int STARTS = 32, CHUNK = 64, FOURS = CHUNK / 4;
constexpr int BROUGHT = STARTS * FOURS / THREADS;  // by each thread

extern "C" __global__ void __launch_bounds__(THREADS) nearest_code_pack(
    const float4 *codes_md, float4 *slabs_of, float4 *groups_of, float *start_m,
    unsigned long long *top_2, double limit, int *flag_1, int m, int depth) {
    __shared__ float chunk[STARTS][CHUNK + 1];  // one more: a column is in all banks
    int t = threadIdx.x, first = blockIdx.x * STARTS, row = t / FOURS;
    int fours = depth / 4, slabs = (depth + DEEP - 1) / DEEP, most = 0;
    double bound = sqrt(limit / max(depth, 1));
    float length = 0;
    float4 mine[BROUGHT];
    auto fetch = [&](int d) {
#pragma unroll
        for (int i = 0; i < BROUGHT; ++i) {
            int code = first + row + i * (THREADS / FOURS);
            bool inside = code < m && d < fours;
            mine[i] = inside ? codes_md[(size_t)code * fours + d]
                             : make_float4(0, 0, 0, 0);
        }
    };
    fetch(t % FOURS);
    for (int from = 0; from < depth; from += CHUNK) {
        int d = from / 4 + t % FOURS;
#pragma unroll
        for (int i = 0; i < BROUGHT; ++i) {
            int at = row + i * (THREADS / FOURS);
            float4 v = mine[i];
            most = max(most, size_bits4(v));
            float *to = &chunk[at][t % FOURS * 4];
            to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
            if (d < fours) groups_of[piece_of_group(first + at, d, fours)] = v;
            if (d < slabs * (DEEP / 4))
                slabs_of[piece_of_slab(first + at, d, slabs)] =
                    make_float4(tf32(v.x), tf32(v.y), tf32(v.z), tf32(v.w));
        }
        __syncthreads();  // the chunk is whole
        fetch(d + FOURS);
        int here = min(CHUNK, depth - from);
        if (t < STARTS) {
#pragma unroll 16
            for (int i = 0; i < here; ++i)
                length = fmaf(chunk[t][i], chunk[t][i], length);
        }
        __syncthreads();  // nobody needs it any more
    }
    if (t < STARTS) start_m[first + t] = first + t < m ? -length / 2 : -INFINITE;
    unsigned long long longest = size_bits(length), top;
    for (int step = 16; step > 0; step /= 2) {
        most = max(most, __shfl_xor_sync(ALL_LANES, most, step));
        longest = max(longest, __shfl_xor_sync(ALL_LANES, longest, step));
    }
    if (t % 32 > 0) return;
    atomicMax(top_2, top = size_bits(__int_as_float(most)));
    if (t == 0) atomicMax(top_2 + 1, longest);
    if (!(__longlong_as_double(top) <= bound)) atomicOr(flag_1, 1);
}

// ---- settle -------------------------------------------------------------------------

constexpr int LANES = GROUP;  // threads of a row: each a code of a group
constexpr int ROWS = THREADS / LANES, TOGETHER = 8;

// As in nearest_code_registers.cu.
INLINE unsigned long long word_of(float score, int code) {
    int bits = __float_as_int(score + 0.0f);
    unsigned ordered = bits < 0 ? ~(unsigned)bits : (unsigned)bits | 0x80000000u;
    return (unsigned long long)ordered << 32 | (0xffffffffu - (unsigned)code);
}

INLINE void carry_on(float &score, float4 z, float4 e) {
    score = fmaf(z.x, e.x, score);
    score = fmaf(z.y, e.y, score);
    score = fmaf(z.z, e.z, score);
    score = fmaf(z.w, e.w, score);
}

// How much less than the largest TF32 score a row's best code may have, as in
// nearest_code_decide; and what is not finite or too large is refused as there.
// A row has LANES threads, and all return it.
INLINE double margin_of(
    const float4 *z_d, const unsigned long long *top_2, double limit, int *flag_1,
    int depth) {
    double squares = 0;
    int most = 0;
    for (int d = threadIdx.x % LANES; d < depth / 4; d += LANES) {
        float4 z = z_d[d];
        squares += (double)z.x * z.x + (double)z.y * z.y + (double)z.z * z.z +
                   (double)z.w * z.w;
        most = max(most, size_bits4(z));
    }
    for (int step = LANES / 2; step > 0; step /= 2) {
        squares += __shfl_xor_sync(ALL_LANES, squares, step);
        most = max(most, __shfl_xor_sync(ALL_LANES, most, step));
    }
    double top = __longlong_as_double(top_2[0]), largest = __int_as_float(most);
    double bound = top > 0 ? limit / (depth * top) - top : 2 * limit;
    if (!(largest <= bound)) atomicOr(flag_1, 1);
    double z = sqrt(squares), square = __longlong_as_double(top_2[1]);
    // At least |e|: of tiny codes the float32 square is 0. 2⁻¹⁴⁹ a term is what it loses.
    double e = sqrt(square + depth * 1.401298464324817e-45);
    e = fmin(e, sqrt((double)depth) * top);
    double step = (1.5 * depth + 2) * 2.384185791015625e-7;  // 2⁻²²
    double tiny = depth * 2.350988701644575e-38 * (1 + z + e);  // 2⁻¹²⁵
    double off = (0.0009765625 + step) * z * e + step * square / 2 + tiny;
    off *= 1.001;  // for the roundings of this line, and of |e|² itself
    if (!(largest < 1e38)) off = INFINITE;  // TF32 may round up to infinity
    return 2.001 * off;
}

// A row, as one of its threads has it. A warp has several rows, and goes through all
// that follows as a whole.
struct Row {
    const float4 *z_d, *groups_of, *maxima;  // maxima: the row's first
    const float *start_m;
    size_t step;  // from a tile's maxima to the next tile's
    int m, fours, pieces, lane;
    float least;              // of a group's maximum, if it is looked at
    unsigned long long word;  // the best of this thread
    float best, second;       // of the maxima that this thread has seen,
    int group;                // and the group of the best

    // Of groups 4 p .. 4 p + 3.
    INLINE float4 maxima_at(int p) const { return maxima[p / EACH * step + p % EACH]; }

    // Those of them that are looked at, as bits; NaN counts.
    INLINE unsigned looked_at(float4 v) const {
        return !(v.x < least) | !(v.y < least) << 1 | !(v.z < least) << 2 |
               !(v.w < least) << 3;
    }

    INLINE void see(float value, int of) {
        second = fmaxf(second, fminf(best, value));
        if (value > best) group = of;
        best = fmaxf(best, value);
    }

    // Each thread sees its part of the maxima; all return the largest of the row.
    INLINE float see_all() {
        best = second = -INFINITE;
#pragma unroll 4
        for (int p = lane; p < pieces; p += LANES) {
            float4 v = maxima_at(p);
            see(v.x, p * 4), see(v.y, p * 4 + 1);
            see(v.z, p * 4 + 2), see(v.w, p * 4 + 3);
        }
        float top = best;
        for (int step = LANES / 2; step > 0; step /= 2)
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, step));
        return top;
    }

    // How many groups of the row are looked at; `several`: of a thread more than one.
    INLINE int count(int &several) const {
        int found = !(best < least);
        several = !(second < least);
        for (int step = LANES / 2; step > 0; step /= 2)
            several |= __shfl_xor_sync(ALL_LANES, several, step);
        if (several) found = 0;
        for (int p = lane; several && p < pieces; p += LANES)
            found += __popc(looked_at(maxima_at(p)));
        for (int step = LANES / 2; step > 0; step /= 2)
            found += __shfl_xor_sync(ALL_LANES, found, step);
        return found;
    }

    // Exact scores of a group, this thread's of its code.
    INLINE void score(int group) {
        int code = code_of(group, lane);
        if (code >= m) return;
        const float4 *e = groups_of + (size_t)group * fours * GROUP + lane;
        float exact = start_m[code];
#pragma unroll 4
        for (int d = 0; d < fours; ++d) carry_on(exact, z_d[d], e[d * GROUP]);
        word = max(word, word_of(exact, code));
    }

    // Each thread has found groups, of four from `first` on; one by one, all threads of
    // a row turn to them, until no row of the warp has any.
    INLINE void score_all(unsigned found, int first) {
        int begin = threadIdx.x % 32 / LANES * LANES;
        while (unsigned who = __ballot_sync(ALL_LANES, found)) {
            who = who >> begin & ((1u << LANES) - 1);
            int leader = who ? __ffs(who) - 1 : 0, group = first + __ffs(found) - 1;
            group = __shfl_sync(ALL_LANES, group, begin + leader);
            if (lane == leader) found &= found - 1;
            if (who) score(group);
        }
    }

    // Exact scores of all groups that are looked at; the largest word of the row. With
    // several groups in a thread, maxima are read again.
    INLINE unsigned long long settle(bool skipped, bool several) {
        score_all(!skipped && !several && !(best < least), group);
        bool again = !skipped && several;
        if (__any_sync(ALL_LANES, again))
            for (int p = lane; p - lane < pieces; p += LANES) {
                bool here = again && p < pieces;
                score_all(here ? looked_at(maxima_at(p)) : 0, p * 4);
            }
        for (int step = LANES / 2; step > 0; step /= 2)
            word = max(word, __shfl_xor_sync(ALL_LANES, word, step));
        return word;
    }
};

// All codes for up to TOGETHER rows, by a whole block.
INLINE void search_all(
    const int *rows, int count, unsigned long long *words, const float4 *z_nd,
    const float4 *groups_of, const float *start_m, long long *indices_n, int m,
    int fours, int groups) {
    int t = threadIdx.x;
    const float4 *z[TOGETHER];
    unsigned long long best[TOGETHER] = {};
#pragma unroll
    for (int i = 0; i < TOGETHER; ++i)
        z[i] = z_nd + (size_t)rows[min(i, count - 1)] * fours;
    if (t < TOGETHER) words[t] = 0;  // below, no other thread reads it
    __syncthreads();  // words are empty
    for (int group = t / LANES; group < groups; group += ROWS) {
        int code = code_of(group, t % LANES);
        if (code >= m) continue;
        const float4 *e = groups_of + (size_t)group * fours * GROUP + t % LANES;
        float exact[TOGETHER];
#pragma unroll
        for (int i = 0; i < TOGETHER; ++i) exact[i] = start_m[code];
#pragma unroll 1  // registers are for what most rows need
        for (int d = 0; d < fours; ++d) {
            float4 here = e[d * GROUP];
#pragma unroll
            for (int i = 0; i < TOGETHER; ++i) carry_on(exact[i], z[i][d], here);
        }
#pragma unroll
        for (int i = 0; i < TOGETHER; ++i)
            best[i] = max(best[i], word_of(exact[i], code));
    }
#pragma unroll
    for (int i = 0; i < TOGETHER; ++i) {
        for (int step = 16; step > 0; step /= 2)
            best[i] = max(best[i], __shfl_xor_sync(ALL_LANES, best[i], step));
        if (t % 32 == 0) atomicMax(&words[i], best[i]);
    }
    __syncthreads();  // words are whole
    if (t < count) indices_n[rows[t]] = 0xffffffffu - (unsigned)words[t];
}

// A thread first keeps the best and the second of its maxima: most often no more than
// one of them is looked at, and maxima are read once. Where there may be more, they are
// read again. Of codes that are all alike to TF32, as when a codebook has collapsed,
// each is looked at: rows with many groups, `crowded`, are left to the whole block,
// which reads the codes once for TOGETHER rows. NaN, and rows that cannot be filtered,
// end there too.
extern "C" __global__ void __launch_bounds__(THREADS) nearest_code_settle(
    const float4 *z_nd, const float4 *groups_of, const float *start_m,
    const unsigned long long *top_2, double limit, const float4 *maxima,
    long long *indices_n, int *flag_1, int n, int m, int depth, int tiles) {
    __shared__ int crowded[ROWS], count;
    __shared__ unsigned long long words[TOGETHER];
    if (threadIdx.x == 0) count = 0;
    __syncthreads();  // none is counted yet
    int mine = blockIdx.x * ROWS + threadIdx.x / LANES, at = min(mine, n - 1);
    Row row = {z_nd + (size_t)at * (depth / 4), groups_of,
               maxima + (size_t)at * EACH,      start_m,
               (size_t)n * EACH,                m,
               depth / 4,                       tiles * EACH,
               (int)threadIdx.x % LANES};
    double margin = margin_of(row.z_d, top_2, limit, flag_1, depth);

    float top = row.see_all();
    row.least = (float)(top - margin - 1e-6 * fabs((double)top));
    int several, found = row.count(several);
    bool crowd = found > tiles * IN_TILE / 8 + 4, first = row.lane == 0 && mine < n;
    if (first && crowd) crowded[atomicAdd(&count, 1)] = mine;
    unsigned long long word = row.settle(crowd, several);
    if (first && !crowd) indices_n[mine] = 0xffffffffu - (unsigned)word;

    __syncthreads();  // the list is whole
    for (int i = 0; i < count; i += TOGETHER)
        search_all(crowded + i, min(TOGETHER, count - i), words, z_nd, groups_of,
                   start_m, indices_n, m, depth / 4, tiles * IN_TILE);
}

// Sums and counts of the vectors of each code on a GPU, without float atomics: a sum
// that adds in the order in which threads happen to arrive differs from run to run.
//
// By macro: REAL, float or double.

// The code that a row chose, or -1 for one that there is not.
__device__ __forceinline__ int code_of(long long index, int m) {
    return index < 0 || index >= m ? -1 : (int)index;
}

// Rung 1, plain. A thread per sum: it looks at the code of every row, in order, and adds
// what is its own. N reads for each of M·D sums; good for a handful of codes.
extern "C" __global__ void code_sums_plain(
    const REAL *z_nd, const long long *indices_n, REAL *sums_md, long long *counts_m,
    int *flag_1, int n, int m, int depth) {
    int d = blockIdx.y * blockDim.x + threadIdx.x, code = blockIdx.x;
    if (d >= max(depth, 1)) return;  // where D is 0 one thread is left, to count
    REAL sum = 0;
    long long count = 0;
    for (int row = 0; row < n; ++row) {
        int chosen = code_of(indices_n[row], m);
        if (chosen < 0) atomicOr(flag_1, 1);
        if (chosen != code) continue;
        if (depth > 0) sum += z_nd[(size_t)row * depth + d];
        count++;
    }
    if (depth > 0) sums_md[(size_t)code * depth + d] = sum;
    if (d == 0) counts_m[code] = count;
}

// Rung 2, sorted. Rows are listed by code first (a counting sort in four steps that
// keeps the order of rows), then each code reads its own rows alone. N·D reads in all.
//
//     step 1   how many rows of each band of BAND rows chose each code
//     step 2   for each code, how many rows stand before each band; their number
//     step 3   where each code's rows begin in the list
//     step 4   each row knows its place: begin + those in bands before + those before
//              it in its own band
//
// The atomics of step 1 add integers, which make the same sum in any order.
constexpr int BAND = 1024, THREADS = 256;

extern "C" __global__ void count_in_bands(
    const long long *indices_n, int *table_bm, int *flag_1, int n, int m) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n) return;
    int code = code_of(indices_n[row], m);
    if (code < 0)
        atomicOr(flag_1, 1);
    else
        atomicAdd(&table_bm[(size_t)(row / BAND) * m + code], 1);
}

extern "C" __global__ void add_up_bands(
    int *table_bm, long long *counts_m, int bands, int m) {
    int code = blockIdx.x * blockDim.x + threadIdx.x;
    if (code >= m) return;
    int before = 0;
    for (int band = 0; band < bands; ++band) {
        int here = table_bm[(size_t)band * m + code];
        table_bm[(size_t)band * m + code] = before;
        before += here;
    }
    counts_m[code] = before;
}

// One block. Each thread adds up a stretch of codes, then all stretches are added up.
extern "C" __global__ void begin_codes(
    const long long *counts_m, int *begins_m, int m) {
    __shared__ int totals[THREADS];
    int t = threadIdx.x, stretch = (m + THREADS - 1) / THREADS;
    int first = min(t * stretch, m), last = min(first + stretch, m);
    int total = 0;
    for (int code = first; code < last; ++code) total += (int)counts_m[code];
    totals[t] = total;
    __syncthreads();
    int before = 0;
    for (int i = 0; i < t; ++i) before += totals[i];
    for (int code = first; code < last; ++code) {
        begins_m[code] = before;
        before += (int)counts_m[code];
    }
}

// A block a band.
extern "C" __global__ void list_rows(
    const long long *indices_n, const int *table_bm, const int *begins_m, int *rows_n,
    int n, int m) {
    __shared__ int codes[BAND];
    int first = blockIdx.x * BAND, size = min(BAND, n - first);
    for (int i = threadIdx.x; i < size; i += THREADS)
        codes[i] = code_of(indices_n[first + i], m);
    __syncthreads();
    for (int i = threadIdx.x; i < size; i += THREADS) {
        int code = codes[i], before = 0;
        if (code < 0) continue;
        for (int j = 0; j < i; ++j) before += codes[j] == code;
        before += begins_m[code] + table_bm[(size_t)blockIdx.x * m + code];
        rows_n[before] = first + i;
    }
}

// A block per code: LANES values of d at a time. Its rows are cut into PARTS, each added
// up by its own lanes in order, and the parts are added in order: the cut depends on
// the number of rows alone.
constexpr int LANES = 32, PARTS = THREADS / LANES;

extern "C" __global__ void sum_listed_rows(
    const REAL *z_nd, const int *rows_n, const int *begins_m, const long long *counts_m,
    REAL *sums_md, int depth) {
    __shared__ REAL sums[PARTS][LANES];
    int code = blockIdx.x, lane = threadIdx.x % LANES, part = threadIdx.x / LANES;
    int count = (int)counts_m[code], begin = begins_m[code];
    int first = begin + (int)((long long)count * part / PARTS);
    int last = begin + (int)((long long)count * (part + 1) / PARTS);
    for (int from = 0; from < depth; from += LANES) {
        int d = from + lane;
        REAL sum = 0;
        if (d < depth)
            for (int i = first; i < last; ++i)
                sum += z_nd[(size_t)rows_n[i] * depth + d];
        sums[part][lane] = sum;
        __syncthreads();
        if (part == 0 && d < depth) {
            for (int i = 1; i < PARTS; ++i) sum += sums[i][lane];
            sums_md[(size_t)code * depth + d] = sum;
        }
        __syncthreads();
    }
}

// Rung 3, banded. No row is listed: a band of ROWS rows is brought to shared memory
// already sorted by code, and each code's rows in it are added up there, one partial
// sum a band. Then each code adds up its partial sums, which at most ROWS rows made.
//
// On an H200 the rung before took 64 µs for 2048 vectors of 64, and 318 for 16384, most
// of it in two serial walks: a thread that compares its row with up to 1023 others, and
// the one block of a code that most rows chose, as early in training or when a codebook
// collapses. Here no walk is longer than ROWS steps of shared memory, or an
// eighth of the bands, eight reads at a time; two launches, not five and a memset.
//
// A sum's order is fixed by the indices alone: rows of a band in order, a part's bands
// in order, parts in order.
constexpr int ROWS = 64, WIDTH = 64, STEP = THREADS / WIDTH, SHARE = THREADS / ROWS;
constexpr int PLACE = 1 << 8;  // an entry of the table: first place · PLACE + rows

// A block a band, and WIDTH values of d. SHARE neighbouring threads find the place of
// a row: how many rows of the band have a smaller code, or the same and come before.
__device__ __forceinline__ void sort_band(
    const int *codes, int *places, int *lengths, int *table_m, int m, bool keeps) {
    int row = threadIdx.x / SHARE, code = codes[row], smaller = 0, ahead = 0, same = 0;
    for (int i = threadIdx.x % SHARE; i < ROWS; i += SHARE) {
        int other = codes[i];
        smaller += other < code;
        ahead += other == code && i < row;
        same += other == code;
    }
    for (int step = 1; step < SHARE; step *= 2) {
        smaller += __shfl_xor_sync(0xffffffffu, smaller, step);
        ahead += __shfl_xor_sync(0xffffffffu, ahead, step);
        same += __shfl_xor_sync(0xffffffffu, same, step);
    }
    if (threadIdx.x % SHARE > 0) return;
    bool leads = ahead == 0 && code < m;
    places[row] = smaller + ahead;
    lengths[smaller + ahead] = leads ? same : 0;
    if (leads && keeps) table_m[code] = smaller * PLACE + same;
}

extern "C" __global__ void sum_in_bands(
    const REAL *z_nd, const long long *indices_n, REAL *parts_nd, int *table_bm,
    int *flag_1, int n, int m, int depth) {
    __shared__ int codes[ROWS];    // of each row; m for none, which sorts to the end
    __shared__ int places[ROWS];   // of each row among the sorted
    __shared__ int lengths[ROWS];  // how many rows of its code begin at a place
    __shared__ REAL sorted[ROWS][WIDTH];
    int t = threadIdx.x, first = blockIdx.x * ROWS, size = min(ROWS, n - first);
    int column = t % WIDTH, d = blockIdx.y * WIDTH + column;
    bool keeps = blockIdx.y == 0;  // the table, which all blocks of a band agree on
    int *table_m = table_bm + (size_t)blockIdx.x * m;
    long long chosen = t < size ? indices_n[first + t] : m;
    const REAL *row_d = z_nd + (size_t)(first + t / WIDTH) * depth + d;
    REAL mine[ROWS / STEP];  // under way while the band is being sorted
#pragma unroll
    for (int i = 0; i < ROWS / STEP; ++i, row_d += STEP * depth)
        mine[i] = t / WIDTH + i * STEP < size && d < depth ? *row_d : (REAL)0;
    if (t < ROWS) {
        int code = code_of(chosen, m);
        if (code < 0 && t < size) atomicOr(flag_1, 1);
        codes[t] = code < 0 ? m : code;
    }
    if (keeps)
        for (int code = t; code < m; code += THREADS) table_m[code] = 0;
    __syncthreads();  // codes are there, the table is empty
    sort_band(codes, places, lengths, table_m, m, keeps);
    __syncthreads();  // places are known
#pragma unroll
    for (int i = 0; i < ROWS / STEP; ++i)
        sorted[places[t / WIDTH + i * STEP]][column] = mine[i];
    __syncthreads();  // rows are sorted
    if (d >= depth) return;
    for (int place = t / WIDTH; place < size; place += STEP) {
        int length = lengths[place];
        if (length == 0) continue;
        REAL sum = sorted[place][column];
        for (int i = 1; i < length; ++i) sum += sorted[place + i][column];
        parts_nd[(size_t)(first + place) * depth + d] = sum;
    }
}

// A block per code, and WIDTH values of d, two per lane. A warp per part: it reads what 32
// bands have of the code at once, lists those that have any, and adds up the list.
constexpr int MOST = THREADS / 32;  // parts, if a block has that many warps
constexpr int AT_ONCE = 8;          // rows that are asked for before the first is there

extern "C" __global__ void __launch_bounds__(THREADS, 4) sum_bands(
    const REAL *parts_nd, const int *table_bm, REAL *sums_md, long long *counts_m,
    int bands, int m, int depth) {
    __shared__ REAL sums[MOST][WIDTH];
    __shared__ int rows[MOST][32], counts[MOST];
    int lane = threadIdx.x % 32, part = threadIdx.x / 32, parts = blockDim.x / 32;
    int code = blockIdx.x, from = blockIdx.y * WIDTH;
    int share = (bands + parts - 1) / parts;
    int end = min((part + 1) * share, bands), count = 0;
    int left = min(from + lane, depth - 1), right = min(from + lane + 32, depth - 1);
    REAL left_sum = 0, right_sum = 0;
    for (int first = part * share; first < end; first += 32) {
        int band = first + lane;
        int entry = band < end ? table_bm[(size_t)band * m + code] : 0;
        unsigned some = __ballot_sync(0xffffffffu, entry > 0);
        int before = __popc(some & ((1u << lane) - 1));
        if (entry > 0) rows[part][before] = band * ROWS + entry / PLACE;
        count += entry % PLACE;
        __syncwarp();  // the list is whole
        int listed = depth > 0 ? __popc(some) : 0;
        for (int i = 0; i < listed; i += AT_ONCE) {
            REAL lefts[AT_ONCE], rights[AT_ONCE];
#pragma unroll
            for (int j = 0; j < AT_ONCE; ++j) {
                int row = rows[part][min(i + j, listed - 1)];
                lefts[j] = parts_nd[(size_t)row * depth + left];
                rights[j] = parts_nd[(size_t)row * depth + right];
            }
#pragma unroll
            for (int j = 0; j < AT_ONCE; ++j) {
                left_sum += i + j < listed ? lefts[j] : (REAL)0;
                right_sum += i + j < listed ? rights[j] : (REAL)0;
            }
        }
        __syncwarp();  // nobody needs it any more
    }
    for (int step = 16; step > 0; step /= 2)
        count += __shfl_xor_sync(0xffffffffu, count, step);
    sums[part][lane] = left_sum;
    sums[part][lane + 32] = right_sum;
    if (lane == 0) counts[part] = count;
    __syncthreads();
    for (int i = threadIdx.x; i < min(WIDTH, depth - from); i += blockDim.x) {
        REAL sum = sums[0][i];
        for (int other = 1; other < parts; ++other) sum += sums[other][i];
        sums_md[(size_t)code * depth + from + i] = sum;
    }
    if (threadIdx.x > 0 || from > 0) return;
    for (int other = 1; other < parts; ++other) count += counts[other];
    counts_m[code] = count;
}

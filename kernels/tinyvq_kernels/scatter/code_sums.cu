// Sums and counts of the vectors of each code on a GPU, without float atomics: a sum
// that adds in the order in which threads happen to arrive differs from run to run.
//
// By macro: REAL, float or double.

// The code that a row chose, or -1 for one that there is not.
__device__ __forceinline__ int code_of(long long index, int m) {
    return index < 0 || index >= m ? -1 : (int)index;
}

// Rung 1, plain. A thread a sum: it looks at the code of every row, in order, and adds
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

// A block a code: LANES values of d at a time. Its rows are cut into PARTS, each added
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

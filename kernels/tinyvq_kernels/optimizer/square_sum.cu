// The sum of squares of all values of many arrays on a GPU, in double: the length of a
// step's gradients. Two launches, whatever the number of arrays.
//
// By macro: REAL, float or double.

constexpr int PIECE = 4096, THREADS = 256;

// Add up what all threads have, as a tree: half of them to the other half.
__device__ __forceinline__ double sum_of_block(double mine) {
    __shared__ double parts[THREADS];
    int t = threadIdx.x;
    parts[t] = mine;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) parts[t] += parts[t + half];
        __syncthreads();
    }
    return parts[0];
}

// Block b adds up PIECE values of an array: which one, and from where on, is in a table
// like that of adam.cu.
extern "C" __global__ void square_pieces(
    const long long *addresses_k, const long long *sizes_k, const int *owners_b,
    const long long *firsts_b, double *sums_b) {
    int owner = owners_b[blockIdx.x];
    const REAL *x_n = (const REAL *)addresses_k[owner];
    long long first = firsts_b[blockIdx.x];
    long long last = min(first + PIECE, sizes_k[owner]);
    double sum = 0;
    for (long long i = first + threadIdx.x; i < last; i += THREADS) {
        double x = x_n[i];
        sum += x * x;
    }
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) sums_b[blockIdx.x] = sum;
}

// One block adds up the pieces.
extern "C" __global__ void add_pieces(const double *sums_b, double *total_1, int pieces) {
    double sum = 0;
    for (int i = threadIdx.x; i < pieces; i += THREADS) sum += sums_b[i];
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) total_1[0] = sum;
}

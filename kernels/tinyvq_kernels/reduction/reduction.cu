// Sums over the pixels of an image: x (N,L,C) -> y (N,C), y[n,c] = Σ_l x[n,l,c].
//
// Channels are neighbours in memory, so neighbouring threads take neighbouring
// channels. REAL is float or double. The order of a sum is fixed by the shape alone.

// ---- plain: a sum a thread ----------------------------------------------------------
// In order, l = 0 .. L-1. With few images and channels there are few threads: N·C of
// them, each with a long walk.

extern "C" __global__ void pixel_sums_plain(const REAL *x_nlc, REAL *y_nc, int n_size,
                                            int l_size, int c_size) {
    long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (long long)n_size * c_size) return;
    long long n = at / c_size, c = at % c_size;
    const REAL *x_lc = x_nlc + n * l_size * c_size + c;
    REAL sum = 0;
    for (int l = 0; l < l_size; ++l) sum += x_lc[(long long)l * c_size];
    y_nc[at] = sum;
}

// ---- tree: a block for 32 sums ------------------------------------------------------
// A warp a part: it adds every PARTS-th pixel of 32 channels. Then the parts are added
// in shared memory as a tree, half of them to the other half, until one is left: PARTS
// times the threads at work, and sums that are shorter and so closer.

#define CHANNELS 32
#define PARTS 16

extern "C" __global__ void pixel_sums_tree(const REAL *x_nlc, REAL *y_nc, int n_size,
                                           int l_size, int c_size) {
    __shared__ REAL parts[PARTS][CHANNELS];
    int across = (c_size + CHANNELS - 1) / CHANNELS;
    long long n = blockIdx.x / across;
    int c = blockIdx.x % across * CHANNELS + threadIdx.x;
    int part = threadIdx.y;
    REAL sum = 0;
    if (c < c_size) {
        const REAL *x_lc = x_nlc + n * l_size * c_size + c;
        for (int l = part; l < l_size; l += PARTS) sum += x_lc[(long long)l * c_size];
    }
    parts[part][threadIdx.x] = sum;
    __syncthreads();
    for (int half = PARTS / 2; half > 0; half /= 2) {
        if (part < half) parts[part][threadIdx.x] += parts[part + half][threadIdx.x];
        __syncthreads();
    }
    if (part == 0 && c < c_size) y_nc[n * c_size + c] = parts[0][threadIdx.x];
}

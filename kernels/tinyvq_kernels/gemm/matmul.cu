// Matrix product over a batch: c[n] (I,J) = a[n] (I,L) b[n] (L,J), c row by row.
//
// a_turned tells that a matrix of a stands in memory as its transpose, (L,I), and
// b_turned the same of b, (J,L): gradients need such products, and a copy is spared.
// a_step and b_step are how far it is to the next matrix, 0 where one serves all.
//
// In every rung an element of c is one chain of fused multiply-adds over l = 0 .. L-1
// that starts at 0, so all rungs give the same bits. REAL is float or double, FMA its
// fused multiply-add. A block's place is its number alone: grids are long in x only.

// Where an element of a matrix (rows, columns) stands.
__device__ __forceinline__ long long place(int row, int column, int rows, int columns,
                                           int turned) {
    return turned ? (long long)column * rows + row : (long long)row * columns + column;
}

// ---- plain: an element a thread -----------------------------------------------------
// Neighbouring threads take neighbouring columns: their loads of b are one run, and a's
// value is the same for all. Each of the I·J threads reads 2·L values for L products:
// at two loads a product, the caches are the limit and not the arithmetic.

extern "C" __global__ void matmul_plain(const REAL *a_nil, const REAL *b_nlj,
                                        REAL *c_nij, int i_size, int l_size,
                                        int j_size, long long a_step, long long b_step,
                                        int a_turned, int b_turned) {
    long long across = (j_size + 31) / 32, down = (i_size + 7) / 8;
    long long n = blockIdx.x / (across * down), tile = blockIdx.x % (across * down);
    int i = (int)(tile / across) * 8 + threadIdx.y;
    int j = (int)(tile % across) * 32 + threadIdx.x;
    if (i >= i_size || j >= j_size) return;
    const REAL *a = a_nil + n * a_step, *b = b_nlj + n * b_step;
    REAL sum = 0;
    for (int l = 0; l < l_size; ++l)
        sum = FMA(a[place(i, l, i_size, l_size, a_turned)],
                  b[place(l, j, l_size, j_size, b_turned)], sum);
    c_nij[(n * i_size + i) * j_size + j] = sum;
}

// ---- tiled: what a block needs is read once -----------------------------------------
// A block makes 16×16 elements of c. Its 256 threads read a tile of a and a tile of b
// into shared memory together, wait for each other, and take their products from there:
// memory is read a sixteenth as often. Zeros stand in for what is beyond the edges.

#define TILE 16

extern "C" __global__ void matmul_tiled(const REAL *a_nil, const REAL *b_nlj,
                                        REAL *c_nij, int i_size, int l_size,
                                        int j_size, long long a_step, long long b_step,
                                        int a_turned, int b_turned) {
    __shared__ REAL a_il[TILE][TILE];
    __shared__ REAL b_lj[TILE][TILE];
    long long across = (j_size + TILE - 1) / TILE, down = (i_size + TILE - 1) / TILE;
    long long n = blockIdx.x / (across * down), tile = blockIdx.x % (across * down);
    int x = threadIdx.x, y = threadIdx.y;
    int i = (int)(tile / across) * TILE + y, j = (int)(tile % across) * TILE + x;
    const REAL *a = a_nil + n * a_step, *b = b_nlj + n * b_step;
    REAL sum = 0;
    for (int first = 0; first < l_size; first += TILE) {
        int l_a = first + x, l_b = first + y;
        bool a_inside = i < i_size && l_a < l_size;
        bool b_inside = j < j_size && l_b < l_size;
        a_il[y][x] = a_inside ? a[place(i, l_a, i_size, l_size, a_turned)] : (REAL)0;
        b_lj[y][x] = b_inside ? b[place(l_b, j, l_size, j_size, b_turned)] : (REAL)0;
        __syncthreads();  // the tiles are whole
        for (int l = 0; l < TILE; ++l) sum = FMA(a_il[y][l], b_lj[l][x], sum);
        __syncthreads();  // nobody needs them any more
    }
    if (i < i_size && j < j_size) c_nij[(n * i_size + i) * j_size + j] = sum;
}

// ---- registers: a thread keeps a tile of its own (float) ----------------------------
// A block makes WIDTH×WIDTH elements of c, a thread EACH×EACH of them, in registers:
// for EACH² products it takes 2·EACH values from shared memory, as float4, where the
// rung before takes two for one. What a block needs of a and b it holds as panels
// (DEPTH, WIDTH), those of a transposed, so that a thread's rows are neighbours too.
// They are in groups of four, a group every 64, so that neighbouring threads read
// neighbouring groups.

#ifdef EACH

#define WIDTH (16 * EACH)    // of a block, which has 16×16 threads
#define DEPTH 16             // products between two barriers
#define GROUPS (EACH / 4)
#define PADDED (WIDTH + 4)   // or columns of a panel would lie in the same bank

// Four neighbours of a row of a matrix, zeros beyond its edges; at once where rows
// begin at multiples of 16 bytes.
__device__ __forceinline__ float4 four_of_row(const float *matrix, int row, int column,
                                              int rows, int columns) {
    const float *from = matrix + (long long)row * columns + column;
    if (row < rows && columns % 4 == 0 && column < columns)
        return *reinterpret_cast<const float4 *>(from);
    float4 four = make_float4(0, 0, 0, 0);
    if (row < rows) {
        if (column < columns) four.x = from[0];
        if (column + 1 < columns) four.y = from[1];
        if (column + 2 < columns) four.z = from[2];
        if (column + 3 < columns) four.w = from[3];
    }
    return four;
}

__device__ __forceinline__ void store_row(float *matrix, int row, int column, int rows,
                                          int columns, const float *four) {
    if (row >= rows) return;
    float *to = matrix + (long long)row * columns + column;
    if (columns % 4 == 0 && column < columns) {
        *reinterpret_cast<float4 *>(to) =
            make_float4(four[0], four[1], four[2], four[3]);
        return;
    }
    for (int k = 0; k < 4; ++k)
        if (column + k < columns) to[k] = four[k];
}

// Fill a panel from a matrix that stands as (size, L), along l, or as (L, size).
__device__ __forceinline__ void load_panel(float (*panel)[PADDED], const float *matrix,
                                           int first, int size, int l_first, int l_size,
                                           bool along_l) {
    int thread = 16 * threadIdx.y + threadIdx.x;
    for (int four = thread; four < WIDTH * DEPTH / 4; four += 256) {
        if (along_l) {
            int at = four / (DEPTH / 4), l = four % (DEPTH / 4) * 4;
            float4 v = four_of_row(matrix, first + at, l_first + l, size, l_size);
            panel[l][at] = v.x;
            panel[l + 1][at] = v.y;
            panel[l + 2][at] = v.z;
            panel[l + 3][at] = v.w;
        } else {
            int l = four / (WIDTH / 4), at = four % (WIDTH / 4) * 4;
            *reinterpret_cast<float4 *>(&panel[l][at]) =
                four_of_row(matrix, l_first + l, first + at, l_size, size);
        }
    }
}

__device__ __forceinline__ void load_groups(float *values, const float *row, int mine) {
#pragma unroll
    for (int g = 0; g < GROUPS; ++g)
        *reinterpret_cast<float4 *>(&values[4 * g]) =
            *reinterpret_cast<const float4 *>(&row[64 * g + 4 * mine]);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    matmul_registers(const float *a_nil, const float *b_nlj, float *c_nij, int i_size,
                     int l_size, int j_size, long long a_step, long long b_step,
                     int a_turned, int b_turned) {
    __shared__ __align__(16) float a_li[DEPTH][PADDED];
    __shared__ __align__(16) float b_lj[DEPTH][PADDED];
    long long across = (j_size + WIDTH - 1) / WIDTH;
    long long down = (i_size + WIDTH - 1) / WIDTH;
    long long n = blockIdx.x / (across * down), tile = blockIdx.x % (across * down);
    int top = (int)(tile / across) * WIDTH, left = (int)(tile % across) * WIDTH;
    const float *a = a_nil + n * a_step, *b = b_nlj + n * b_step;
    int x = threadIdx.x, y = threadIdx.y;
    __align__(16) float rows[EACH], columns[EACH], sums[EACH][EACH];
#pragma unroll
    for (int r = 0; r < EACH; ++r)
#pragma unroll
        for (int c = 0; c < EACH; ++c) sums[r][c] = 0;

    for (int first = 0; first < l_size; first += DEPTH) {
        load_panel(a_li, a, top, i_size, first, l_size, !a_turned);
        load_panel(b_lj, b, left, j_size, first, l_size, b_turned);
        __syncthreads();  // the panels are whole
#pragma unroll
        for (int l = 0; l < DEPTH; ++l) {
            load_groups(rows, a_li[l], y);
            load_groups(columns, b_lj[l], x);
#pragma unroll
            for (int r = 0; r < EACH; ++r)
#pragma unroll
                for (int c = 0; c < EACH; ++c)
                    sums[r][c] = fmaf(rows[r], columns[c], sums[r][c]);
        }
        __syncthreads();  // the panels may be overwritten
    }
    float *c_ij = c_nij + n * i_size * j_size;
#pragma unroll
    for (int r = 0; r < EACH; ++r)
#pragma unroll
        for (int g = 0; g < GROUPS; ++g)
            store_row(c_ij, top + r / 4 * 64 + 4 * y + r % 4, left + 64 * g + 4 * x,
                      i_size, j_size, &sums[r][4 * g]);
}

#endif

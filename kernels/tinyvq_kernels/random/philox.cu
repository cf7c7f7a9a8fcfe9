// Random numbers on a GPU: Philox4x64-10 (Salmon et al., "Parallel random numbers: as
// easy as 1, 2, 3", SC 2011), bit for bit what NumPy's Philox draws.
//
// Random number i is a function of i and a key, so each thread makes its own, and none
// waits for another. state_3 is (key, key, numbers drawn so far); it lies in memory and
// is moved on by a kernel, so that a captured step draws anew each time it is replayed.
//
// By macro: REAL, float or double.

typedef unsigned long long Word;

struct Block {
    Word words[4];
};

// Encrypt the counter (low, 0, 0, 0): section 3.3 of the paper.
__device__ __forceinline__ Block philox(Word low, Word key0, Word key1) {
    Word a = low, b = 0, c = 0, d = 0;
    for (int round = 0; round < 10; ++round) {
        Word high0 = __umul64hi(0xD2E7470EE14C6C93ull, a);
        Word low0 = 0xD2E7470EE14C6C93ull * a;
        Word high1 = __umul64hi(0xCA5A826395121157ull, c);
        Word low1 = 0xCA5A826395121157ull * c;
        a = high1 ^ b ^ key0, b = low1, c = high0 ^ d ^ key1, d = low0;
        key0 += 0x9E3779B97F4A7C15ull;
        key1 += 0xBB67AE8584CAA73Bull;
    }
    return {{a, b, c, d}};
}

// The next n numbers of 64 random bits. Four come of one counter, the first four of 1;
// the first thread and the last may need some of theirs only.
extern "C" __global__ void philox_bits(const Word *state_3, Word *bits_n, long long n) {
    Word drawn = state_3[2];
    Word counter = drawn / 4 + (Word)blockIdx.x * blockDim.x + threadIdx.x;
    Block made = philox(counter + 1, state_3[0], state_3[1]);
    for (int i = 0; i < 4; ++i) {
        long long at = (long long)(counter * 4 + i - drawn);
        if (at >= 0 && at < n) bits_n[at] = made.words[i];
    }
}

// The next n numbers, uniform in [low, high): 53 bits each. Rounding to REAL could make
// the largest `high` itself; `below` is the largest that is allowed.
extern "C" __global__ void philox_uniform(
    const Word *state_3, REAL *values_n, double low, double high, REAL below,
    long long n) {
    Word drawn = state_3[2];
    Word counter = drawn / 4 + (Word)blockIdx.x * blockDim.x + threadIdx.x;
    Block made = philox(counter + 1, state_3[0], state_3[1]);
    for (int i = 0; i < 4; ++i) {
        long long at = (long long)(counter * 4 + i - drawn);
        double unit = (double)(made.words[i] >> 11) * (1.0 / 9007199254740992.0);
        REAL value = (REAL)(low + (high - low) * unit);
        if (at >= 0 && at < n) values_n[at] = value < below ? value : below;
    }
}

// After either: so many are drawn.
extern "C" __global__ void philox_advance(Word *state_3, Word count) {
    state_3[2] += count;
}

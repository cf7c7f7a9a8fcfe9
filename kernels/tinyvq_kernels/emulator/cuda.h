// Makes a .cu file valid C++17: it is included ahead of the file, which has no #include
// of its own. What a kernel may use is here; what is not here does not compile, which
// is better than to be emulated wrongly.

#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>
#include <utility>

// ---- where functions and variables live ---------------------------------------------

#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

// One block runs at a time, so its shared memory is a section of the library. A guard
// ahead of each array keeps a write beyond one array out of the next.
#define EMULATED_JOIN(a, b) a##b
#define EMULATED_NAME(a, b) EMULATED_JOIN(a, b)
#define EMULATED_SHARED __attribute__((section("emulated_shared"), used, aligned(16)))
#define __shared__                                                             \
    static EMULATED_SHARED char EMULATED_NAME(emulated_guard_, __COUNTER__)[256]; \
    static EMULATED_SHARED

// ---- vectors ------------------------------------------------------------------------

#define EMULATED_VECTORS(T, name, bytes2, bytes4)                                   \
    struct __attribute__((aligned(bytes2), may_alias)) name##2 { T x, y; };         \
    struct __attribute__((may_alias)) name##3 { T x, y, z; };                       \
    struct __attribute__((aligned(bytes4), may_alias)) name##4 { T x, y, z, w; };   \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                      \
    inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }              \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

EMULATED_VECTORS(float, float, 8, 16)
EMULATED_VECTORS(double, double, 16, 16)
EMULATED_VECTORS(int, int, 8, 16)
EMULATED_VECTORS(unsigned, uint, 8, 16)

// ---- where a thread is --------------------------------------------------------------

struct dim3 { unsigned x, y, z; };

extern "C" dim3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

// ---- barriers and warps: runtime.cpp ------------------------------------------------

extern "C" {
void emulated_barrier(int line);
int emulated_barrier_vote(int line, int value, int what);  // what: 0 or, 1 and, 2 count
void emulated_warp_barrier(int line, unsigned mask);
uint64_t emulated_shuffle(int line, unsigned mask, uint64_t value, int from);
unsigned emulated_ballot(int line, unsigned mask, int value);
int emulated_lane();
void emulated_atomic(void *address, size_t bytes, void *where);
}

#define __syncthreads() emulated_barrier(__LINE__)
#define __syncthreads_or(value) emulated_barrier_vote(__LINE__, (value) != 0, 0)
#define __syncthreads_and(value) emulated_barrier_vote(__LINE__, (value) != 0, 1)
#define __syncthreads_count(value) emulated_barrier_vote(__LINE__, (value) != 0, 2)
#define __syncwarp(...) \
    emulated_warp_barrier(__LINE__, emulated::mask_or_all(__VA_ARGS__))
#define __ballot_sync(mask, value) emulated_ballot(__LINE__, mask, (value) != 0)
#define __any_sync(mask, value) (__ballot_sync(mask, value) != 0)
#define __all_sync(mask, value) (__ballot_sync(mask, !(value)) == 0)
#define __shfl_sync(mask, ...) \
    emulated::shuffle<emulated::TO>(__LINE__, mask, __VA_ARGS__)
#define __shfl_up_sync(mask, ...) \
    emulated::shuffle<emulated::UP>(__LINE__, mask, __VA_ARGS__)
#define __shfl_down_sync(mask, ...) \
    emulated::shuffle<emulated::DOWN>(__LINE__, mask, __VA_ARGS__)
#define __shfl_xor_sync(mask, ...) \
    emulated::shuffle<emulated::XOR>(__LINE__, mask, __VA_ARGS__)

namespace emulated {

inline unsigned mask_or_all(unsigned mask = 0xffffffffu) { return mask; }

enum Way { TO, UP, DOWN, XOR };

// As the programming guide defines it: a lane beyond its group of `width` reads itself.
template <Way way, class T>
inline T shuffle(int line, unsigned mask, T value, int by, int width = 32) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    int lane = emulated_lane(), first = lane & ~(width - 1), from = lane;
    if (way == TO) from = first | (by & (width - 1));
    if (way == UP) from = lane - by >= first ? lane - by : lane;
    if (way == DOWN) from = lane + by < first + width ? lane + by : lane;
    if (way == XOR) from = (lane ^ by) < first + width ? lane ^ by : lane;
    uint64_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(T));
    bits = emulated_shuffle(line, mask, bits, from);
    __builtin_memcpy(&value, &bits, sizeof(T));
    return value;
}

}  // namespace emulated

inline void __threadfence() { __asm__ volatile("" ::: "memory"); }
inline void __threadfence_block() { __asm__ volatile("" ::: "memory"); }

// ---- atomics: whole, since threads take turns; marked, since two may meet -----------

#define EMULATED_ATOMIC(T, name, result)                                            \
    __attribute__((noinline, no_sanitize("thread", "undefined"))) inline T name(    \
        T *at, T value) {                                                           \
        emulated_atomic(at, sizeof(T), __builtin_return_address(0));                \
        T old = *at;                                                                \
        *at = result;                                                               \
        return old;                                                                 \
    }
#define EMULATED_ATOMICS(T)                                                         \
    EMULATED_ATOMIC(T, atomicAdd, old + value)                                      \
    EMULATED_ATOMIC(T, atomicExch, value)                                           \
    EMULATED_ATOMIC(T, atomicMin, value < old ? value : old)                        \
    EMULATED_ATOMIC(T, atomicMax, value > old ? value : old)                        \
    EMULATED_ATOMIC(T, atomicAnd, old & value)                                      \
    EMULATED_ATOMIC(T, atomicOr, old | value)                                       \
    EMULATED_ATOMIC(T, atomicXor, old ^ value)                                      \
    __attribute__((noinline, no_sanitize("thread", "undefined"))) inline T          \
    atomicCAS(T *at, T expected, T value) {                                         \
        emulated_atomic(at, sizeof(T), __builtin_return_address(0));                \
        T old = *at;                                                                \
        if (old == expected) *at = value;                                           \
        return old;                                                                 \
    }

EMULATED_ATOMICS(int)
EMULATED_ATOMICS(unsigned)
EMULATED_ATOMICS(unsigned long long)

// ---- arithmetic ---------------------------------------------------------------------

#define EMULATED_ORDER(T)                                     \
    inline T min(T a, T b) { return b < a ? b : a; }          \
    inline T max(T a, T b) { return a < b ? b : a; }

EMULATED_ORDER(int)
EMULATED_ORDER(unsigned)
EMULATED_ORDER(long long)
EMULATED_ORDER(unsigned long long)
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline float rsqrtf(float x) { return (float)(1.0 / sqrt((double)x)); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int i = 0; i < 32; ++i) y |= (x >> i & 1u) << (31 - i);
    return y;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return (unsigned)((uint64_t)a * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline int __mulhi(int a, int b) { return (int)((int64_t)a * b >> 32); }

#define EMULATED_BITS(To, From, name)                  \
    inline To name(From from) {                        \
        To to;                                         \
        __builtin_memcpy(&to, &from, sizeof(to));      \
        return to;                                     \
    }

EMULATED_BITS(int, float, __float_as_int)
EMULATED_BITS(unsigned, float, __float_as_uint)
EMULATED_BITS(float, int, __int_as_float)
EMULATED_BITS(float, unsigned, __uint_as_float)
EMULATED_BITS(long long, double, __double_as_longlong)
EMULATED_BITS(double, long long, __longlong_as_double)

template <class T>
__forceinline__ T __ldg(const T *at) { return *at; }

// ---- entry points: build.py appends one for each kernel -----------------------------

namespace emulated {

// A letter and a size for each parameter: "f4" a float, "Pf4" a pointer to floats that
// are written to, "pf4" one to constants; v is any other type.
template <class T>
constexpr char letter() {
    if (std::is_floating_point<T>::value) return 'f';
    if (!std::is_integral<T>::value) return 'v';
    return std::is_signed<T>::value ? 'i' : 'u';
}

template <class T>
char *describe(char *at) {
    using Value = typename std::remove_pointer<T>::type;
    if (std::is_pointer<T>::value) *at++ = std::is_const<Value>::value ? 'p' : 'P';
    using Plain = typename std::remove_cv<Value>::type;
    *at++ = letter<Plain>();
    constexpr unsigned size = sizeof(Plain);
    if (size > 9) *at++ = (char)('0' + size / 10);
    *at++ = (char)('0' + size % 10);
    *at++ = ' ';
    return at;
}

template <class... T>
const char *signature(void (*)(T...)) {
    static char text[sizeof...(T) * 6 + 1], *at = text;
    if (at == text) ((at = describe<T>(at)), ...);
    return text;
}

template <class... T, size_t... i>
__attribute__((no_sanitize("thread", "undefined"))) void call(
    void (*kernel)(T...), void **values, std::index_sequence<i...>) {
    kernel(*(T *)values[i]...);
}

template <class... T>
__attribute__((no_sanitize("thread", "undefined"))) void call(
    void (*kernel)(T...), void **values) {
    call(kernel, values, std::index_sequence_for<T...>());
}

}  // namespace emulated

#define EMULATED_EXPORTED \
    extern "C" __attribute__((no_sanitize("thread", "undefined"), \
                              visibility("default")))
#define EMULATED_ENTRY(kernel, parameters)                                            \
    EMULATED_EXPORTED void emulated_call_##kernel(void **values) {                    \
        emulated::call(kernel, values);                                               \
    }                                                                                 \
    EMULATED_EXPORTED const char *emulated_signature_##kernel() {                     \
        return emulated::signature(kernel);                                           \
    }                                                                                 \
    EMULATED_EXPORTED const char *emulated_parameters_##kernel() { return parameters; }
#define EMULATED_TEXTS(kernels, arrays)                               \
    EMULATED_EXPORTED const char *emulated_kernels() { return kernels; } \
    EMULATED_EXPORTED const char *emulated_arrays() { return arrays; }

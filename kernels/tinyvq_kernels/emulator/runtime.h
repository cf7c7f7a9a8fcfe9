// What the two halves of the emulator share: runtime.cpp runs the threads of a launch,
// checks.cpp watches what they do. device.py mirrors the structs.

#pragma once

#include <stddef.h>
#include <stdint.h>

namespace emulated {

struct Index { uint32_t x, y, z; };

// An array that a kernel was given, in a checked launch within guards on both sides.
struct Region {
    uint64_t begin, bytes;
    uint64_t guard;        // bytes on either side that can be touched without harm
    uint64_t fresh;        // whether POISON in it means that nobody has written there
};

enum Kind : uint32_t {
    RACE = 1, UNINITIALISED, BOUNDS, ALIGNMENT, DIVERGENCE, DIVISION
};
enum : int32_t { SHARED = -1, LOCAL = -2, UNKNOWN = -3 };

// Something wrong. `where` and `other` are offsets in the library of an instruction;
// `line` is set where the compiler told it.
struct Finding {
    uint32_t kind;
    int32_t array;         // the number of an argument, or SHARED, LOCAL, UNKNOWN
    int64_t offset;        // bytes from the array's begin (or the library's, if shared)
    uint32_t bytes, writes, other_writes, line, other_line, count;
    uint64_t where, other;
    Index block, thread, other_block, other_thread;
    int64_t index;         // of an index out of bounds, or an address misaligned
    uint64_t file, type;   // text that the compiler left beside a check
};

struct Counts {
    uint64_t barriers;     // __syncthreads of the block that had most
    uint64_t shared_reads, shared_writes, global_reads, global_writes;
    uint64_t findings, stopped;
};

enum Order : uint32_t { FORWARD, REVERSE, RANDOM };

// A __shared__ array: where in the library.
struct Variable { uint64_t offset, bytes; };

constexpr uint32_t MOST_THREADS = 1024;  // of a block
constexpr size_t STACK = 64 << 10;       // bytes per thread

struct Launch {
    void (*call)(void **);
    void **values;
    Index grid, block;
    uint32_t order, seed;
    Region *regions;       // one an argument; bytes 0 where it is no array
    uint32_t arguments, room;
    Finding *findings;
    Counts *counts;
    Variable *variables;
    uint32_t variable_count;
    char *stacks;          // MOST_THREADS of them
};

// runtime.cpp
extern Launch *launch;
Index thread_index(uint32_t thread);   // from its number in the block
Index block_index(uint64_t block);
uint32_t this_thread();
uint64_t this_block();
bool in_stack(uint64_t address);
[[noreturn]] void stop();              // end the launch: it cannot go on
Finding *report(Kind kind, int32_t array, int64_t offset, uint64_t where,
                uint32_t line);

// checks.cpp, or empty in the fast mode
void begin_checks();
void begin_block_checks();
void block_is_synchronised();
void warp_is_synchronised(uint32_t warp);
void end_checks();

}  // namespace emulated

// The section that holds all __shared__ arrays; absent if there are none.
extern "C" __attribute__((weak, visibility("hidden"))) char __start_emulated_shared[];
extern "C" __attribute__((weak, visibility("hidden"))) char __stop_emulated_shared[];

// Watches every access to memory that a kernel makes.
//
// The compiler was told to call `__tsan_read4(address)` and its like ahead of each
// access (-fsanitize=thread), and a handler where a vector is misaligned or an index
// leaves its array (-fsanitize=alignment,bounds). Those functions are defined here.
// Each 4 bytes of an array that threads share, a word, have a cell that remembers who
// wrote and who read them last, and when; "when" counts barriers.
//
// Two accesses of a word race if different threads made them, at least one wrote, and
// no barrier that both passed lies between; threads of different blocks have none.

#include "runtime.h"

#include <stdlib.h>
#include <string.h>

extern "C" __attribute__((visibility("hidden"))) char __ehdr_start[], _end[];

namespace emulated {

struct Access {
    uint32_t time;         // 0: never
    uint32_t where;        // of the instruction in the library
    uint32_t block;
    uint16_t thread;
    uint8_t bytes;         // of the word, a bit each
    uint8_t atomic;
};

struct Cell {
    Access write;
    // The last read; and the last ones by another thread of that warp, by another warp
    // of that block, and by another block. If any read before a write races with it, one
    // of these does.
    Access reads[4];
    uint32_t owner;           // the block whose values it holds, counted from 1
    uint8_t initialised;      // bytes, a bit each
};

constexpr uint32_t POISON = 0xFFFADEADu, LANES = 32;

static Cell **cells;           // of each argument
static Cell *shared_cells;
static int16_t *variable_of;   // of each word of shared memory; -1 in a guard
static uint32_t now, block_since, warp_since[MOST_THREADS / LANES];

static uint64_t shared_begin() { return (uint64_t)__start_emulated_shared; }
static uint64_t shared_bytes() {
    return (uint64_t)(__stop_emulated_shared - __start_emulated_shared);
}

static Cell *make_cells(uint64_t bytes) {
    return (Cell *)calloc(bytes / 4 + 2, sizeof(Cell));
}

void begin_checks() {
    now = 0;
    cells = (Cell **)calloc(launch->arguments, sizeof(Cell *));
    for (uint32_t i = 0; i < launch->arguments; ++i)
        if (launch->regions[i].bytes) cells[i] = make_cells(launch->regions[i].bytes);
    shared_cells = make_cells(shared_bytes());
    variable_of = (int16_t *)malloc((shared_bytes() / 4 + 1) * sizeof(int16_t));
    for (uint64_t word = 0; word <= shared_bytes() / 4; ++word) variable_of[word] = -1;
    for (uint32_t v = 0; v < launch->variable_count; ++v) {
        const Variable &variable = launch->variables[v];
        uint64_t first = variable.offset - (shared_begin() - (uint64_t)__ehdr_start);
        for (uint64_t byte = 0; byte < variable.bytes; ++byte)
            variable_of[(first + byte) / 4] = (int16_t)v;
    }
}

void end_checks() {
    for (uint32_t i = 0; i < launch->arguments; ++i) free(cells[i]);
    free(cells);
    free(shared_cells);
    free(variable_of);
}

void block_is_synchronised() {
    block_since = ++now;
    for (uint32_t &since : warp_since) since = now;
}

void warp_is_synchronised(uint32_t warp) { warp_since[warp] = ++now; }
void begin_block_checks() { block_is_synchronised(); }

// ---- races --------------------------------------------------------------------------

static bool meets(const Access &before, const Access &here) {
    if (!before.time || !(before.bytes & here.bytes)) return false;
    if (before.atomic && here.atomic) return false;
    if (before.block != here.block) return true;
    if (before.thread == here.thread) return false;
    bool one_warp = before.thread / LANES == here.thread / LANES;
    return before.time >= (one_warp ? warp_since[here.thread / LANES] : block_since);
}

static void report_race(const Access &before, bool wrote, const Access &here,
                        bool writes, int32_t array, int64_t offset) {
    Finding *found = report(RACE, array, offset, here.where, 0);
    if (!found) return;
    found->writes = writes;
    found->other_writes = wrote;
    found->other = before.where;
    found->other_thread = thread_index(before.thread);
    found->other_block = block_index(before.block - 1);
}

static void remember_read(Access (&reads)[4], const Access &here) {
    Access last = reads[0], far = reads[2];
    reads[0] = here;
    if (!last.time || (last.block == here.block && last.thread == here.thread)) return;
    auto warp_is_ours = [&](const Access &read) {
        return read.time && read.thread / LANES == here.thread / LANES;
    };
    if (last.block != here.block) {
        reads[3] = last;
        reads[1] = reads[2] = Access{};
    } else if (warp_is_ours(last)) {
        reads[1] = last;
    } else {
        reads[1] = warp_is_ours(far) && far.thread != here.thread ? far : Access{};
        reads[2] = last;
    }
}

static void visit(Cell &cell, const Access &here, bool writes, int32_t array,
                  int64_t offset, bool tracks_values) {
    if (tracks_values && !writes && (here.bytes & ~cell.initialised))
        if (Finding *found = report(UNINITIALISED, array, offset, here.where, 0))
            found->bytes = 4;
    if (meets(cell.write, here))
        report_race(cell.write, true, here, writes, array, offset);
    if (!writes) {
        remember_read(cell.reads, here);
        return;
    }
    for (const Access &read : cell.reads)
        if (meets(read, here)) report_race(read, false, here, writes, array, offset);
    cell.write = here;
    cell.initialised |= here.bytes;
}

// ---- which array an address is in ---------------------------------------------------

static void out_of_bounds(int32_t array, int64_t offset, uint32_t bytes, bool writes,
                          uint32_t where) {
    Finding *found = report(BOUNDS, array, offset, where, 0);
    if (!found) return;
    found->bytes = bytes;
    found->writes = writes;
}

// The argument whose memory or guard holds the address; -1 if there is none.
static int32_t argument_at(uint64_t address) {
    static int32_t last = 0;
    int32_t guarded = -1;
    for (uint32_t step = 0; step < launch->arguments; ++step) {
        int32_t i = (int32_t)((last + step) % launch->arguments);
        const Region &region = launch->regions[i];
        if (!region.bytes) continue;
        if (address - region.begin < region.bytes) return last = i;
        if (address + region.guard - region.begin < region.bytes + 2 * region.guard)
            guarded = i;
    }
    return guarded;
}

static void visit_shared(uint64_t offset, uint32_t bytes, bool writes, Access here) {
    (writes ? launch->counts->shared_writes : launch->counts->shared_reads) += 1;
    if (variable_of[offset / 4] < 0 || variable_of[(offset + bytes - 1) / 4] < 0) {
        uint64_t base = shared_begin() - (uint64_t)__ehdr_start;
        out_of_bounds(SHARED, (int64_t)(base + offset), bytes, writes, here.where);
        return;
    }
    uint64_t base = shared_begin() - (uint64_t)__ehdr_start;
    for (uint64_t at = offset & ~3ull; at < offset + bytes; at += 4) {
        Cell &cell = shared_cells[at / 4];
        if (cell.owner != here.block) cell = Cell{}, cell.owner = here.block;
        uint64_t first = at < offset ? offset - at : 0;
        uint64_t last = offset + bytes - at < 4 ? offset + bytes - at : 4;
        here.bytes = (uint8_t)((1u << last) - (1u << first));
        visit(cell, here, writes, SHARED, (int64_t)(base + at), true);
    }
}

static void visit_argument(int32_t i, uint64_t address, uint32_t bytes, bool writes,
                           Access here) {
    const Region &region = launch->regions[i];
    int64_t offset = (int64_t)(address - region.begin);
    (writes ? launch->counts->global_writes : launch->counts->global_reads) += 1;
    if (offset < 0 || (uint64_t)offset + bytes > region.bytes) {
        out_of_bounds(i, offset, bytes, writes, here.where);
        return;
    }
    uint64_t begin = (uint64_t)offset, end = begin + bytes;
    for (uint64_t at = begin & ~3ull; at < end; at += 4) {
        Cell &cell = cells[i][at / 4];
        if (!cell.owner) {  // what stood there before the launch
            uint32_t word = 0;
            uint64_t left = region.bytes - at;
            memcpy(&word, (char *)region.begin + at, left < 4 ? left : 4);
            cell.owner = 1;
            cell.initialised = region.fresh && word == POISON ? 0 : 0xF;
        }
        uint64_t first = at < begin ? begin - at : 0;
        uint64_t last = end - at < 4 ? end - at : 4;
        here.bytes = (uint8_t)((1u << last) - (1u << first));
        visit(cell, here, writes, i, (int64_t)at, true);
    }
}

static uint32_t offset_of(void *where) {
    return (uint32_t)((uint64_t)where - 1 - (uint64_t)__ehdr_start);
}

static void watch(uint64_t address, uint32_t bytes, bool writes, void *from,
                  bool atomic) {
    if (in_stack(address)) return;
    Access here{now, offset_of(from), (uint32_t)this_block() + 1,
                (uint16_t)this_thread(), 0, atomic};
    if (address - shared_begin() < shared_bytes()) {
        visit_shared(address - shared_begin(), bytes, writes, here);
        return;
    }
    if (address - (uint64_t)__ehdr_start < (uint64_t)(_end - __ehdr_start)) return;
    int32_t argument = argument_at(address);
    if (argument >= 0) {
        visit_argument(argument, address, bytes, writes, here);
        return;
    }
    out_of_bounds(UNKNOWN, 0, bytes, writes, here.where);  // it would crash
    stop();
}

}  // namespace emulated

using namespace emulated;

// ---- what the compiler calls --------------------------------------------------------

#define HOOKS(bytes)                                                                \
    void __tsan_read##bytes(void *at) {                                             \
        watch((uint64_t)at, bytes, false, __builtin_return_address(0), false);      \
    }                                                                               \
    void __tsan_write##bytes(void *at) {                                            \
        watch((uint64_t)at, bytes, true, __builtin_return_address(0), false);       \
    }                                                                               \
    void __tsan_unaligned_read##bytes(void *at) {                                   \
        watch((uint64_t)at, bytes, false, __builtin_return_address(0), false);      \
    }                                                                               \
    void __tsan_unaligned_write##bytes(void *at) {                                  \
        watch((uint64_t)at, bytes, true, __builtin_return_address(0), false);       \
    }

struct Place { const char *file; uint32_t line, column; };
struct Type { uint16_t kind, info; char name[1]; };
struct Misaligned { Place place; Type *type; uint8_t log_alignment, kind; };
struct OutOfBounds { Place place; Type *array, *index; };
struct Division { Place place; Type *type; };

static void tell(Kind kind, const Place &place, const Type *type, int64_t index) {
    Finding *found = report(kind, UNKNOWN, 0, 0, place.line);
    if (found) {
        found->index = index;
        found->file = (uint64_t)place.file;
        found->type = (uint64_t)type->name;
    }
    stop();  // the access itself would crash, or write over the stack
}

extern "C" {

HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void *at, size_t bytes) {
    watch((uint64_t)at, (uint32_t)bytes, false, __builtin_return_address(0), false);
}
void __tsan_write_range(void *at, size_t bytes) {
    watch((uint64_t)at, (uint32_t)bytes, true, __builtin_return_address(0), false);
}
void emulated_atomic(void *at, size_t bytes, void *from) {
    watch((uint64_t)at, (uint32_t)bytes, false, from, true);
    watch((uint64_t)at, (uint32_t)bytes, true, from, true);
}

void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}

void __ubsan_handle_type_mismatch_v1(Misaligned *data, uint64_t address) {
    tell(ALIGNMENT, data->place, data->type, (int64_t)address);
}
void __ubsan_handle_out_of_bounds(OutOfBounds *data, uint64_t index) {
    tell(BOUNDS, data->place, data->array, (int64_t)index);
}
void __ubsan_handle_divrem_overflow(Division *data, uint64_t, uint64_t) {
    tell(DIVISION, data->place, data->type, 0);
}

}  // extern "C"

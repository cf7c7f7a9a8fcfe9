// Runs a launch on the CPU: block after block, and in a block each thread as a fiber, a
// stack of its own that can be left at a barrier and taken up again. Threads take
// turns; nothing runs at the same time, so what a kernel does is the same every time,
// and which thread goes first is ours to choose.

#include "fibers.h"
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

namespace emulated {

// ---- threads ------------------------------------------------------------------------

constexpr uint32_t LANES = 32;

enum State : uint8_t { NEW, READY, AT_BARRIER, AT_WARP_BARRIER, ENDED };

struct Thread {
    void *stack_pointer;
    int stack;            // which stack it has
    int line;             // of the barrier that it waits at
    uint32_t mask;        // of the warp's barrier that it waits at
    uint32_t turn;        // shuffles so far, which alternate between two slots
    State state;
    int vote;
};

static char *stacks;
static int free_stacks[MOST_THREADS], free_count;
static Thread threads[MOST_THREADS];
static uint32_t thread_count, current;
static uint64_t block_number, barriers;
static void *scheduler;
static bool stopping;
static int votes[3];
static uint64_t slots[MOST_THREADS][2];
static uint32_t random_state;

Launch *launch;

uint32_t this_thread() { return current; }
uint64_t this_block() { return block_number; }

bool in_stack(uint64_t address) {
    uint64_t begin = (uint64_t)stacks;
    return address >= begin && address < begin + STACK * MOST_THREADS;
}

static void leave(State state) {
    threads[current].state = state;
    emulated_switch(&threads[current].stack_pointer, scheduler);
}

void stop() {
    stopping = true;
    launch->counts->stopped = 1;
    leave(ENDED);
    __builtin_unreachable();
}

static void run_thread() {
    launch->call(launch->values);
    Thread &thread = threads[current];
    free_stacks[free_count++] = thread.stack;
    leave(ENDED);
}

static void start(Thread &thread) {
    thread.stack = free_stacks[--free_count];
    void **top = (void **)(stacks + (size_t)(thread.stack + 1) * STACK) - FRAME - 2;
    memset(top, 0, FRAME * sizeof(void *));
    top[RETURN] = (void *)run_thread;
    thread.stack_pointer = top;
}

// ---- which thread goes first --------------------------------------------------------

static uint32_t draw(uint32_t below) {  // xorshift32
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % below;
}

template <class T>
static void arrange(T *order, T count) {
    for (T i = 0; i < count; ++i)
        order[i] = launch->order == REVERSE ? count - 1 - i : i;
    if (launch->order != RANDOM) return;
    for (T i = count; i > 1; --i) {
        T j = draw((uint32_t)i), kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}

// ---- where a thread is --------------------------------------------------------------

}  // namespace emulated

struct dim3 { unsigned x, y, z; };
#define HIDDEN extern "C" __attribute__((visibility("hidden")))
HIDDEN dim3 threadIdx, blockIdx, blockDim, gridDim;
dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

Index thread_index(uint32_t number) {
    const Index &b = launch->block;
    return {number % b.x, number / b.x % b.y, number / b.x / b.y};
}

Index block_index(uint64_t number) {
    const Index &g = launch->grid;
    return {(uint32_t)(number % g.x), (uint32_t)(number / g.x % g.y),
            (uint32_t)(number / g.x / g.y)};
}

static void take_up(uint32_t number) {
    current = number;
    Index at = thread_index(number);
    threadIdx = {at.x, at.y, at.z};
    Thread &thread = threads[number];
    if (thread.state == NEW) start(thread);
    emulated_switch(&scheduler, thread.stack_pointer);
}

// ---- findings -----------------------------------------------------------------------

// The same thing at the same place is told once, and counted.
Finding *report(Kind kind, int32_t array, int64_t offset, uint64_t where,
                uint32_t line) {
    Counts &counts = *launch->counts;
    for (uint64_t i = 0; i < counts.findings; ++i) {
        Finding &old = launch->findings[i];
        if (old.kind == kind && old.where == where && old.line == line &&
            old.array == array) {
            ++old.count;
            return nullptr;
        }
    }
    if (counts.findings == launch->room) return nullptr;
    Finding &found = launch->findings[counts.findings++];
    memset(&found, 0, sizeof(found));
    found.kind = kind;
    found.array = array;
    found.offset = offset;
    found.where = where;
    found.line = line;
    found.count = 1;
    found.block = block_index(block_number);
    found.thread = thread_index(current);
    return &found;
}

// Threads wait that nobody can release: tell of one that does, and of one that does
// not.
static void report_divergence(uint32_t waiting, uint32_t other) {
    current = waiting;
    stopping = true;  // what followed would mean nothing
    launch->counts->stopped = 1;
    Finding *found = report(DIVERGENCE, UNKNOWN, 0, 0, (uint32_t)threads[waiting].line);
    if (!found) return;
    found->other_thread = thread_index(other);
    bool waits = threads[other].state != ENDED;
    found->other_line = waits ? (uint32_t)threads[other].line : 0;
}

// ---- barriers -----------------------------------------------------------------------

static void release_block() {
    ++barriers;
    block_is_synchronised();
    votes[0] = 0, votes[1] = 1, votes[2] = 0;
    for (uint32_t i = 0; i < thread_count; ++i)
        if (threads[i].state == AT_BARRIER) {
            votes[0] |= threads[i].vote;
            votes[1] &= threads[i].vote;
            votes[2] += threads[i].vote;
            threads[i].state = READY;
        }
}

// All threads of a block must come to the same barrier: every one of them, for to have
// left the kernel early is forgiven by some devices and hangs others.
static bool check_block_barrier() {
    uint32_t first = thread_count, odd = thread_count;
    for (uint32_t i = 0; i < thread_count; ++i)
        if (threads[i].state == AT_BARRIER) {
            if (first == thread_count) first = i;
            if (threads[i].line != threads[first].line && odd == thread_count) odd = i;
        } else if (threads[i].state == ENDED) {
            odd = odd == thread_count ? i : odd;
        } else {
            return false;  // still on its way
        }
    if (first == thread_count) return false;
    if (odd != thread_count) report_divergence(first, odd);
    release_block();
    return true;
}

// A warp's barrier is complete when every lane of the mask waits at it.
static bool check_warp_barrier(uint32_t warp) {
    uint32_t base = warp * LANES, here = thread_count - base;
    if (here > LANES) here = LANES;
    uint32_t all = here == LANES ? ~0u : (1u << here) - 1;
    bool released = false;
    for (uint32_t lane = 0; lane < here; ++lane) {
        Thread &first = threads[base + lane];
        if (first.state != AT_WARP_BARRIER) continue;
        uint32_t wanted = first.mask & all, there = 0;
        for (uint32_t l = 0; l < here; ++l) {
            Thread &thread = threads[base + l];
            bool same = thread.line == first.line && thread.mask == first.mask;
            if (thread.state == AT_WARP_BARRIER && same) there |= 1u << l;
        }
        if ((there & wanted) != wanted) continue;
        for (uint32_t l = 0; l < here; ++l)
            if (wanted >> l & 1) threads[base + l].state = READY;
        first.state = READY;
        if (wanted == all) warp_is_synchronised(warp);
        released = true;
    }
    return released;
}

static uint32_t warps() { return (thread_count + LANES - 1) / LANES; }

static bool release_what_waits() {
    bool released = false;
    for (uint32_t warp = 0; warp < warps(); ++warp)
        released |= check_warp_barrier(warp);
    return check_block_barrier() || released;
}

// Nothing moves: a warp's barrier waits for a lane that is elsewhere.
static void break_deadlock() {
    for (uint32_t i = 0; i < thread_count; ++i) {
        if (threads[i].state != AT_WARP_BARRIER) continue;
        uint32_t base = i / LANES * LANES, other = i;
        for (uint32_t l = 0; l < LANES && base + l < thread_count; ++l) {
            Thread &thread = threads[base + l];
            bool waits = thread.state == AT_WARP_BARRIER;
            bool same = waits && thread.line == threads[i].line;
            if ((threads[i].mask >> l & 1) && !same) other = base + l;
        }
        report_divergence(i, other);
        return;
    }
}

}  // namespace emulated

using namespace emulated;

extern "C" {

void emulated_barrier(int line) {
    threads[current].line = line;
    leave(AT_BARRIER);
}

int emulated_barrier_vote(int line, int value, int what) {
    threads[current].vote = value;
    emulated_barrier(line);
    return votes[what];
}

void emulated_warp_barrier(int line, unsigned mask) {
    threads[current].line = line;
    threads[current].mask = mask;
    leave(AT_WARP_BARRIER);
}

int emulated_lane() { return (int)(current % LANES); }

// Two slots a lane: a lane that is one shuffle ahead does not overwrite what is read.
uint64_t emulated_shuffle(int line, unsigned mask, uint64_t value, int from) {
    uint32_t turn = threads[current].turn++ & 1;
    slots[current][turn] = value;
    emulated_warp_barrier(line, mask);
    uint32_t source = current / LANES * LANES + (uint32_t)from;
    return source < thread_count ? slots[source][turn] : value;
}

unsigned emulated_ballot(int line, unsigned mask, int value) {
    uint32_t turn = threads[current].turn++ & 1, base = current / LANES * LANES;
    slots[current][turn] = (uint64_t)value;
    emulated_warp_barrier(line, mask);
    unsigned bits = 0;
    for (uint32_t l = 0; l < LANES && base + l < thread_count; ++l)
        if (mask >> l & 1) bits |= (unsigned)slots[base + l][turn] << l;
    return bits;
}

}  // extern "C"

namespace emulated {

// NaN as a float, a double or a pair of either: what nobody wrote shows.
static void poison(char *from, char *to) {
    const uint32_t word = 0xFFFADEADu;
    for (; from + 4 <= to; from += 4) memcpy(from, &word, 4);
}

static void run_block(uint64_t number) {
    static uint32_t order[MOST_THREADS];
    block_number = number;
    Index at = block_index(number);
    blockIdx = {at.x, at.y, at.z};
    barriers = 0;
    poison(__start_emulated_shared, __stop_emulated_shared);
    begin_block_checks();
    for (uint32_t i = 0; i < thread_count; ++i) threads[i] = Thread{};
    for (;;) {
        bool moved = false, left = false;
        arrange(order, thread_count);
        for (uint32_t i = 0; i < thread_count; ++i) {
            State state = threads[order[i]].state;
            if (state > READY) continue;
            take_up(order[i]);
            if (stopping) return;
            moved = true;
        }
        for (uint32_t i = 0; i < thread_count; ++i) left |= threads[i].state != ENDED;
        if (!left) break;
        if (!release_what_waits() && !moved) break_deadlock();
        if (stopping) return;
    }
    if (barriers > launch->counts->barriers) launch->counts->barriers = barriers;
}

}  // namespace emulated

// Run a launch; false where there is no memory for it.
extern "C" __attribute__((visibility("default"))) int emulated_run(Launch *asked) {
    launch = asked;
    stacks = asked->stacks;
    stopping = false;
    random_state = asked->seed * 2654435769u + 1;
    const Index &g = asked->grid, &b = asked->block;
    thread_count = b.x * b.y * b.z;
    blockDim = {b.x, b.y, b.z};
    gridDim = {g.x, g.y, g.z};
    for (free_count = 0; free_count < (int)MOST_THREADS; ++free_count)
        free_stacks[free_count] = (int)MOST_THREADS - 1 - free_count;
    uint64_t blocks = (uint64_t)g.x * g.y * g.z;
    uint64_t *order = (uint64_t *)malloc(blocks * sizeof(uint64_t));
    if (!order) return 0;
    begin_checks();
    arrange(order, blocks);
    for (uint64_t i = 0; i < blocks && !stopping; ++i) run_block(order[i]);
    end_checks();
    free(order);
    return 1;
}

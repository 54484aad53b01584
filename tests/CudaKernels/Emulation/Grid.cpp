#include "Grid.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

namespace emulation {
namespace {
constexpr size_t StackBytes = 128 * 1024;
/// How far up the caller's stack what a kernel is called with may lie.
constexpr size_t CallerStackBytes = 64 * 1024;
constexpr unsigned WarpSize = 32;
constexpr int MaxFaults = 8;

enum class State { Ready, AtBarrier, AtWarp, Done };

/// One thread of the block under way. Its stack is used again by the next block.
struct Fiber {
    jmp_buf context;
    ucontext_t first;
    char* stack = nullptr;
    State state = State::Done;
    Site site{};
    unsigned mask = 0;
    WarpOperation operation = nullptr;
    LaneData data{};
    unsigned index = 0;
    bool started = false;
};

struct Launch {
    const char* name = "";
    dim3 grid, block;
    uint3 blockIndex{};
    unsigned threads = 0;
    unsigned epoch = 0;
    const std::function<void()>* kernel = nullptr;
    std::vector<unsigned> warpEpochs;
    std::vector<unsigned> order;
    std::string faults;
    int faultCount = 0;
    bool abandoned = false;
};

Launch g_launch;
std::vector<std::unique_ptr<Fiber>> g_fibers;
Fiber* g_current = nullptr;
jmp_buf g_scheduler;
char* g_hostStack = nullptr;
int g_runtimeDepth = 0;
// Never goes back, so that what an earlier launch left in the shadow memory is older than everything.
unsigned g_epoch = 1;

void yield() {
    if (_setjmp(g_current->context) == 0) {
        _longjmp(g_scheduler, 1);
    }
}

/// A fiber's whole life: a kernel for each block that has such a thread.
void fiber_main() {
    for (;;) {
        (*g_launch.kernel)();
        g_current->state = State::Done;
        yield();
    }
}

void resume(Fiber& fiber) {
    g_current = &fiber;
    if (_setjmp(g_scheduler) == 0) {
        if (fiber.started) {
            _longjmp(fiber.context, 1);
        }
        fiber.started = true;
        setcontext(&fiber.first);
    }
    g_current = nullptr;
}

Fiber& fiber_at(unsigned index) {
    while (g_fibers.size() <= index) {
        auto fiber = std::make_unique<Fiber>();
        void* stack = mmap(nullptr, StackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED) {
            std::perror("mmap");
            std::exit(2);
        }
        fiber->stack = static_cast<char*>(stack);
        fiber->index = unsigned(g_fibers.size());
        if (getcontext(&fiber->first) != 0) {
            std::perror("getcontext");
            std::exit(2);
        }
        fiber->first.uc_stack.ss_sp = stack;
        fiber->first.uc_stack.ss_size = StackBytes;
        fiber->first.uc_link = nullptr;
        makecontext(&fiber->first, fiber_main, 0);
        g_fibers.push_back(std::move(fiber));
    }
    return *g_fibers[index];
}

std::string text(Site site) {
    const char* name = std::strrchr(site.file, '/');
    return std::string(name ? name + 1 : site.file) + ":" + std::to_string(site.line);
}

/// Lets the threads go on that all wait at one barrier. False if some wait elsewhere.
bool release_barrier() {
    Site site{};
    for (unsigned i = 0; i < g_launch.threads; i++) {
        Fiber& fiber = *g_fibers[i];
        if (fiber.state == State::AtWarp) {
            return false;
        }
        if (fiber.state == State::AtBarrier) {
            if (site.file != nullptr && (site.line != fiber.site.line || std::strcmp(site.file, fiber.site.file) != 0)) {
                fault("threads wait at different barriers: " + text(site) + " and " + text(fiber.site) + " (thread " + std::to_string(i) + ")");
                return false;
            }
            site = fiber.site;
        }
    }
    for (unsigned i = 0; i < g_launch.threads; i++) {
        if (g_fibers[i]->state == State::AtBarrier) {
            g_fibers[i]->state = State::Ready;
        }
    }
    g_launch.epoch = ++g_epoch;
    return true;
}

void report_stuck() {
    for (unsigned i = 0; i < g_launch.threads; i++) {
        Fiber& fiber = *g_fibers[i];
        if (fiber.state == State::AtWarp) {
            fault("thread " + std::to_string(i) + " waits at " + text(fiber.site) + " for lanes of its mask that never come");
            return;
        }
    }
}

void run_block() {
    unsigned live = g_launch.threads;
    for (unsigned i = 0; i < g_launch.threads; i++) {
        fiber_at(i).state = State::Ready;
    }
    while (live > 0 && !g_launch.abandoned) {
        bool ran = false;
        for (unsigned i : g_launch.order) {
            Fiber& fiber = *g_fibers[i];
            if (fiber.state == State::Ready) {
                ran = true;
                resume(fiber);
                live -= fiber.state == State::Done ? 1 : 0;
            }
            if (g_launch.abandoned) {
                return;
            }
        }
        if (!ran && !release_barrier()) {
            report_stuck();
            g_launch.abandoned = true;
        }
    }
}

void order_threads(Order order) {
    g_launch.order.clear();
    for (unsigned i = 0; i < g_launch.threads; i++) {
        g_launch.order.push_back(i);
    }
    uint64_t state = 0x9e3779b97f4a7c15;
    for (unsigned i = g_launch.threads; order == Order::Shuffled && i > 1; i--) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        std::swap(g_launch.order[i - 1], g_launch.order[(state >> 33) % i]);
    }
}
}

std::string launch_function(const char* name, dim3 grid, dim3 block, unsigned sharedBytes, Order order, const std::function<void()>& kernel) {
    g_launch = Launch{};
    g_hostStack = static_cast<char*>(__builtin_frame_address(0));
    g_launch.name = name;
    g_launch.grid = grid;
    g_launch.block = block;
    g_launch.threads = block.x * block.y * block.z;
    g_launch.kernel = &kernel;
    order_threads(order);
    begin_launch(++g_epoch);
    unsigned blocks = grid.x * grid.y * grid.z;
    for (unsigned i = 0; i < blocks && !g_launch.abandoned; i++) {
        unsigned index = order == Order::Shuffled ? blocks - 1 - i : i;
        g_launch.blockIndex = {index % grid.x, index / grid.x % grid.y, index / grid.x / grid.y};
        g_launch.epoch = ++g_epoch;
        g_launch.warpEpochs.assign((g_launch.threads + WarpSize - 1) / WarpSize, 0);
        begin_block(g_launch.epoch, sharedBytes);
        forget_copies();
        run_block();
    }
    if (g_launch.abandoned) {
        // Fibers that stand in the middle of a kernel are of no more use; their stacks stay mapped until the process ends.
        for (auto& fiber : g_fibers) {
            (void)fiber.release();
        }
        g_fibers.clear();
    }
    return g_launch.faults;
}

void fault(const std::string& what) {
    InRuntime inside;
    if (g_launch.faultCount++ < MaxFaults) {
        const uint3 b = g_launch.blockIndex;
        g_launch.faults += std::string(g_launch.name) + " block (" + std::to_string(b.x) + ", " + std::to_string(b.y) + ", " + std::to_string(b.z) + "): " + what + "\n";
    }
}

InRuntime::InRuntime() { g_runtimeDepth++; }
InRuntime::~InRuntime() { g_runtimeDepth--; }
bool in_runtime() { return g_runtimeDepth > 0; }

void stop() {
    g_launch.abandoned = true;
    g_runtimeDepth = 0;  // this thread never comes back
    yield();
}

bool in_kernel() { return g_current != nullptr; }

Access current_access() { return {g_current->index, g_launch.warpEpochs[g_current->index / WarpSize], g_launch.epoch}; }

bool on_own_stack(const void* address) {
    auto* byte = static_cast<const char*>(address);
    return byte >= g_current->stack && byte < g_current->stack + StackBytes;
}

bool on_host_stack(const void* address) {
    auto* byte = static_cast<const char*>(address);
    return byte >= g_hostStack && byte < g_hostStack + CallerStackBytes;
}

uint3 thread_index() {
    unsigned i = g_current->index;
    return {i % g_launch.block.x, i / g_launch.block.x % g_launch.block.y, i / g_launch.block.x / g_launch.block.y};
}

uint3 block_index() { return g_launch.blockIndex; }
dim3 block_size() { return g_launch.block; }
dim3 grid_size() { return g_launch.grid; }
int lane() { return int(g_current->index % WarpSize); }
LaneData& lane_data() { return g_current->data; }

void sync_block(Site site) {
    g_current->site = site;
    g_current->state = State::AtBarrier;
    yield();
}

void collective(unsigned mask, WarpOperation operation, Site site) {
    Fiber* self = g_current;
    unsigned first = self->index / WarpSize * WarpSize;
    if ((mask >> (self->index - first) & 1) == 0) {
        InRuntime inside;
        fault("thread " + std::to_string(self->index) + " is not in the mask of its own warp operation at " + text(site));
        stop();
    }
    self->state = State::AtWarp;
    self->site = site;
    self->mask = mask;
    self->operation = operation;
    LaneData* lanes[WarpSize] = {};
    for (unsigned lane = 0; lane < WarpSize; lane++) {
        if ((mask >> lane & 1) == 0) {
            continue;
        }
        Fiber* other = first + lane < g_launch.threads ? g_fibers[first + lane].get() : nullptr;
        if (other == nullptr || other->state != State::AtWarp) {
            yield();  // Whoever comes last does the work.
            return;
        }
        if (other->mask != mask || other->operation != operation || other->site.line != site.line) {
            InRuntime inside;
            fault("lanes of one warp meet in different operations: " + text(site) + " and " + text(other->site));
            stop();
        }
        lanes[lane] = &other->data;
    }
    operation(lanes, mask);
    for (unsigned lane = 0; lane < WarpSize; lane++) {
        if (mask >> lane & 1) {
            g_fibers[first + lane]->state = State::Ready;
        }
    }
}

void sync_warp(unsigned mask, Site site) {
    collective(mask, [](LaneData**, unsigned) { g_launch.warpEpochs[g_current->index / WarpSize]++; }, site);
}

unsigned long long shuffle(unsigned mask, unsigned long long bits, int source, Site site) {
    LaneData& own = lane_data();
    own.input[0] = bits;
    own.input[1] = unsigned(source) % WarpSize;
    collective(mask, [](LaneData* lanes[32], unsigned m) {
        for (unsigned lane = 0; lane < WarpSize; lane++) {
            if (m >> lane & 1) {
                unsigned from = unsigned(lanes[lane]->input[1]);
                if (lanes[from] == nullptr) {
                    InRuntime inside;
                    fault("a shuffle reads lane " + std::to_string(from) + ", which takes no part in it");
                    from = lane;
                }
                lanes[lane]->output[0] = lanes[from]->input[0];
            }
        }
    }, site);
    return own.output[0];
}

unsigned ballot(unsigned mask, bool predicate, Site site) {
    LaneData& own = lane_data();
    own.input[0] = predicate;
    collective(mask, [](LaneData* lanes[32], unsigned m) {
        unsigned bits = 0;
        for (unsigned lane = 0; lane < WarpSize; lane++) {
            bits |= (m >> lane & 1) && lanes[lane]->input[0] ? 1u << lane : 0;
        }
        for (unsigned lane = 0; lane < WarpSize; lane++) {
            if (m >> lane & 1) {
                lanes[lane]->output[0] = bits;
            }
        }
    }, site);
    return unsigned(own.output[0]);
}
}

// Runs kernels on the CPU, block after block, and reports what a GPU would do silently or never forgive.
#pragma once

#include "cuda.h"

#include <functional>
#include <string>

namespace emulation {
/// In which order the threads of a block get their turn between barriers; the blocks of a shuffled launch run last to first. A right kernel gives the same bits in
/// every order.
enum class Order { Ascending, Shuffled };

/// Runs `kernel` for every thread of every block. Returns the first faults found, one a line, empty if there was none: races on shared or global
/// memory, reads of what nobody wrote, accesses outside of the registered arrays, barriers and warp operations that not all threads reach.
/// The launch stops at the first fault of a kind that leaves no way on.
std::string launch_function(const char* name, dim3 grid, dim3 block, unsigned sharedBytes, Order order, const std::function<void()>& kernel);

/// The call of a kernel, as a lambda: what it captures stays on the caller's stack, which kernels may read as the constants they are called with.
template <typename F> std::string launch(const char* name, dim3 grid, dim3 block, unsigned sharedBytes, Order order, const F& kernel) {
    return launch_function(name, grid, block, sharedBytes, order, std::cref(kernel));
}

/// Memory that kernels may touch; `initialised` says that the host has written all of it.
void register_memory(const char* name, void* address, size_t bytes, bool initialised);
void unregister_memory(void* address);
/// The host has written into registered memory.
void host_wrote(void* address, size_t bytes);

/// The launch under way, between the parts of the emulation.
struct Access {
    unsigned thread;       // in its block
    unsigned warpEpoch;    // counts __syncwarp of the thread's warp
    unsigned epoch;        // counts barriers; blocks begin with a new one
};

bool in_kernel();

/// While one lives, accesses to memory are the emulation's own and not looked at.
struct InRuntime {
    InRuntime();
    ~InRuntime();
};
bool in_runtime();
Access current_access();
/// The fiber's own stack, which nobody else sees.
bool on_own_stack(const void* address);
bool on_host_stack(const void* address);
void fault(const std::string& what);
/// Ends the launch: called by a thread that can do nothing sensible any more.
void stop();

void begin_launch(unsigned epoch);
void begin_block(unsigned epoch, unsigned sharedBytes);
void forget_copies();
void check_access(void* address, size_t bytes, bool write);

/// A warp operation: `operation` is run once, by the last of the mask's lanes to arrive, on all lanes' `input`; each lane then has its `output`.
struct LaneData { unsigned long long input[8]; unsigned long long output[8]; };
using WarpOperation = void (*)(LaneData* lanes[32], unsigned mask);
LaneData& lane_data();
void collective(unsigned mask, WarpOperation operation, Site site);
}

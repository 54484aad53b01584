// Follows every access that kernels make to memory. Kernels are compiled with -fsanitize=thread, whose calls on each load and store end here and not
// in the compiler's own library. For every two bytes of registered memory the last write and the last reads are kept; two accesses by different threads, one of them
// a write, must have a barrier between them, or a __syncwarp if they are of one warp. Blocks never wait for each other, so between two of them nothing helps.
#include "Grid.h"

#include <algorithm>
#include <vector>

/// What `extern __shared__` names in the kernels.
alignas(1024) unsigned char shared_memory[256 * 1024];

namespace emulation {
namespace {
constexpr size_t CellBytes = 2;
constexpr unsigned NoThread = 0xffff;      // several threads of one warp
constexpr unsigned SeveralWarps = 0xfffe;  // threads of several warps

/// Who touched a cell last. Epochs grow over all launches, so an old record needs no clearing: it is before everything.
struct Touch { uint32_t epoch = 0; uint32_t warpEpoch = 0; uint16_t thread = 0; uint16_t warp = 0; };
struct Cell { Touch write, read, atomic; };

struct Region {
    std::string name;
    char* begin;
    size_t bytes;
    bool initialised;
    std::vector<Cell> cells;
};

std::vector<Region*> g_regions;  // by address
Region g_shared{"shared memory", reinterpret_cast<char*>(shared_memory), 0, false, {}};
Region* g_last = nullptr;
unsigned g_launchEpoch = 0, g_blockEpoch = 0;
bool g_atomic = false;

Region* find(const char* address) {
    if (address >= g_shared.begin && address < g_shared.begin + sizeof(shared_memory)) {
        return &g_shared;
    }
    if (g_last != nullptr && address >= g_last->begin && address < g_last->begin + g_last->bytes) {
        return g_last;
    }
    auto next = std::upper_bound(g_regions.begin(), g_regions.end(), address, [](const char* a, const Region* r) { return a < r->begin; });
    if (next == g_regions.begin() || address >= next[-1]->begin + next[-1]->bytes) {
        return nullptr;
    }
    return g_last = next[-1];
}

std::string nearest(const char* address) {
    auto next = std::upper_bound(g_regions.begin(), g_regions.end(), address, [](const char* a, const Region* r) { return a < r->begin; });
    return next == g_regions.begin() ? "" : ", " + std::to_string(address - next[-1]->begin - long(next[-1]->bytes)) + " behind the end of " + next[-1]->name;
}

/// Whether nothing orders the touch before an access of now.
bool races(const Touch& touch, const Access& now, bool shared) {
    if (touch.epoch < g_launchEpoch) {
        return false;
    }
    if (touch.epoch < g_blockEpoch) {
        // Shared memory was another block's then.
        return !shared;
    }
    if (touch.epoch < now.epoch || touch.thread == now.thread) {
        return false;
    }
    return touch.warp == SeveralWarps || touch.warp != now.thread / 32 || touch.warpEpoch >= now.warpEpoch;
}

void report(const Region& region, size_t offset, const char* what, const Access& now, const Touch& other) {
    std::string with = other.epoch < g_blockEpoch ? "another block" : other.thread >= SeveralWarps ? "other threads" : "thread " + std::to_string(other.thread);
    fault("thread " + std::to_string(now.thread) + " " + what + " byte " + std::to_string(offset) + " of " + region.name + " with no barrier after " + with);
}

/// Adds a thread to those that touched the cell and do not race with each other.
void remember(Touch& read, const Access& now) {
    unsigned warp = now.thread / 32;
    if (read.epoch != now.epoch) {
        read = {now.epoch, now.warpEpoch, uint16_t(now.thread), uint16_t(warp)};
    } else if (read.thread != now.thread) {
        bool oneWarp = read.warp == warp;
        read = {now.epoch, now.warpEpoch, uint16_t(NoThread), uint16_t(oneWarp ? warp : SeveralWarps)};
    } else {
        read.warpEpoch = now.warpEpoch;
    }
}

/// Returns false after a fault: one for each access is enough.
bool touch_cell(Region& region, Cell& cell, size_t offset, bool write, const Access& now) {
    Touch own{now.epoch, now.warpEpoch, uint16_t(now.thread), uint16_t(now.thread / 32)};
    bool written = cell.write.epoch != 0 || cell.atomic.epoch != 0 || region.initialised;
    bool shared = &region == &g_shared;
    if (shared) {
        written = cell.write.epoch >= g_blockEpoch || cell.atomic.epoch >= g_blockEpoch;
    }
    if (!written && (!write || g_atomic)) {
        fault("thread " + std::to_string(now.thread) + " reads byte " + std::to_string(offset) + " of " + region.name + ", which nobody has written");
        return false;
    }
    if (races(cell.write, now, shared)) {
        report(region, offset, write ? "writes" : "reads", now, cell.write);
        return false;
    }
    if (!g_atomic && races(cell.atomic, now, shared)) {
        report(region, offset, write ? "writes (after atomics)" : "reads (after atomics)", now, cell.atomic);
        return false;
    }
    if (write && races(cell.read, now, shared)) {
        report(region, offset, g_atomic ? "changes by an atomic" : "writes", now, cell.read);
        return false;
    }
    if (g_atomic) {
        remember(cell.atomic, now);
    } else if (write) {
        cell.write = own;
    } else {
        remember(cell.read, now);
    }
    return true;
}

}

void register_memory(const char* name, void* address, size_t bytes, bool initialised) {
    auto* region = new Region{name, static_cast<char*>(address), bytes, initialised, std::vector<Cell>((bytes + CellBytes - 1) / CellBytes)};
    g_regions.insert(std::upper_bound(g_regions.begin(), g_regions.end(), region, [](Region* a, Region* b) { return a->begin < b->begin; }), region);
}

void unregister_memory(void* address) {
    auto found = std::find_if(g_regions.begin(), g_regions.end(), [=](Region* r) { return r->begin == address; });
    if (found != g_regions.end()) {
        g_last = nullptr;
        delete *found;
        g_regions.erase(found);
    }
}

void host_wrote(void* address, size_t bytes) {
    Region* region = find(static_cast<char*>(address));
    for (size_t i = 0; region != nullptr && i < bytes; i += CellBytes) {
        // Before every launch there was.
        region->cells[(size_t(static_cast<char*>(address) - region->begin) + i) / CellBytes] = {{1, 0, 0, 0}, {}, {}};
    }
}

void begin_launch(unsigned epoch) { g_launchEpoch = epoch; }

void begin_block(unsigned epoch, unsigned sharedBytes) {
    g_blockEpoch = epoch;
    g_shared.bytes = sharedBytes;
    g_shared.cells.resize((sharedBytes + CellBytes - 1) / CellBytes);
    // Not a number in every type, should a read of what nobody wrote slip through.
    std::memset(shared_memory, 0xff, sharedBytes);
}

void check_access(void* pointer, size_t bytes, bool write) {
    if (!in_kernel() || on_own_stack(pointer)) {
        return;
    }
    char* address = static_cast<char*>(pointer);
    Region* region = find(address);
    if (region == nullptr) {
        if (write || !on_host_stack(address)) {
            fault("thread " + std::to_string(current_access().thread) + (write ? " writes " : " reads ") + std::to_string(bytes) + " bytes outside of every array" + nearest(address));
            stop();
        }
        return;
    }
    size_t offset = size_t(address - region->begin);
    if (offset + bytes > region->bytes) {
        fault("thread " + std::to_string(current_access().thread) + (write ? " writes" : " reads") + " bytes [" + std::to_string(offset) + ", " + std::to_string(offset + bytes) + ") of "
            + region->name + ", which has " + std::to_string(region->bytes));
        stop();
        return;
    }
    if (bytes > 1 && (bytes & (bytes - 1)) == 0 && offset % bytes != 0) {
        fault("thread " + std::to_string(current_access().thread) + " touches " + std::to_string(bytes) + " bytes at byte " + std::to_string(offset) + " of " + region->name + ", not aligned");
        return;
    }
    Access now = current_access();
    for (size_t cell = offset / CellBytes; cell <= (offset + bytes - 1) / CellBytes; cell++) {
        if (!touch_cell(*region, region->cells[cell], cell * CellBytes, write, now)) {
            return;
        }
    }
}

void atomic_access(void* address, int bytes, Site) {
    g_atomic = true;
    check_access(address, size_t(bytes), true);
    g_atomic = false;
}
}

namespace {
/// What the kernels' own code does; not what the emulation does for them, whose library templates may be the kernels' instrumented ones.
void check_kernel_access(void* address, size_t bytes, bool write) {
    if (!emulation::in_runtime()) {
        emulation::InRuntime inside;
        emulation::check_access(address, bytes, write);
    }
}
}

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read_range(void* p, unsigned long n) { check_kernel_access(p, n, false); }
void __tsan_write_range(void* p, unsigned long n) { check_kernel_access(p, n, true); }
#define HOOKS(n) \
    void __tsan_read##n(void* p) { check_kernel_access(p, n, false); } \
    void __tsan_write##n(void* p) { check_kernel_access(p, n, true); } \
    void __tsan_volatile_read##n(void* p) { check_kernel_access(p, n, false); } \
    void __tsan_volatile_write##n(void* p) { check_kernel_access(p, n, true); }
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
#define UNALIGNED_HOOKS(n) \
    void __tsan_unaligned_read##n(void* p) { check_kernel_access(p, n, false); } \
    void __tsan_unaligned_write##n(void* p) { check_kernel_access(p, n, true); }
UNALIGNED_HOOKS(2) UNALIGNED_HOOKS(4) UNALIGNED_HOOKS(8) UNALIGNED_HOOKS(16)
}

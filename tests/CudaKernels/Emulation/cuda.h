// What a CUDA source may say, as C++: kernels are compiled with this in front of them and run by Grid.h on the CPU. A thread is a fiber; threads of a
// block run one after the other up to the next barrier or warp operation. Only what the kernels use is here.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define SCRIPTEDSERVE_EMULATED 1
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// Dynamic shared memory only: `extern __shared__ ... shared_memory[]`, defined in Sanitizer.cpp, where every access to it is followed.
#define __shared__

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }

namespace emulation {
struct Site { const char* file; int line; };

uint3 thread_index();
uint3 block_index();
dim3 block_size();
dim3 grid_size();

void sync_block(Site site);
void sync_warp(unsigned mask, Site site);
unsigned long long shuffle(unsigned mask, unsigned long long bits, int source, Site site);
unsigned ballot(unsigned mask, bool predicate, Site site);
int lane();

/// Called before and after an atomic, which no other access of the launch may race with, but atomics may.
void atomic_access(void* address, int bytes, Site site);

template <typename T>
T shuffle_from(unsigned mask, T value, int source, Site site) {
    unsigned long long bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    bits = shuffle(mask, bits, source, site);
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

template <typename T>
__attribute__((noinline, no_sanitize_thread)) T atomic_add(T* address, T value, Site site) {
    atomic_access(address, sizeof(T), site);
    T old;
    __builtin_memcpy(&old, address, sizeof(T));
    T sum = old + value;
    __builtin_memcpy(address, &sum, sizeof(T));
    return old;
}
}

#define threadIdx (::emulation::thread_index())
#define blockIdx (::emulation::block_index())
#define blockDim (::emulation::block_size())
#define gridDim (::emulation::grid_size())

#define EMULATION_SITE (::emulation::Site{__FILE__, __LINE__})
#define __syncthreads() ::emulation::sync_block(EMULATION_SITE)
#define __syncwarp(...) ::emulation::sync_warp(0xffffffffu, EMULATION_SITE)
#define __shfl_sync(mask, value, source) ::emulation::shuffle_from(mask, value, source, EMULATION_SITE)
#define __shfl_xor_sync(mask, value, with) ::emulation::shuffle_from(mask, value, ::emulation::lane() ^ (with), EMULATION_SITE)
// A lane whose source would be below 0 keeps its own value.
#define __shfl_up_sync(mask, value, by) \
    ::emulation::shuffle_from(mask, value, ::emulation::lane() >= int(by) ? ::emulation::lane() - int(by) : ::emulation::lane(), EMULATION_SITE)
#define __ballot_sync(mask, predicate) ::emulation::ballot(mask, predicate, EMULATION_SITE)
#define atomicAdd(address, value) ::emulation::atomic_add(address, value, EMULATION_SITE)

inline float __uint_as_float(unsigned bits) { float value; std::memcpy(&value, &bits, 4); return value; }
inline unsigned __float_as_uint(float value) { unsigned bits; std::memcpy(&bits, &value, 4); return bits; }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
template <typename T> inline T min(T a, T b) { return b < a ? b : a; }
template <typename T> inline T max(T a, T b) { return a < b ? b : a; }

/// Bytes a kernel picks out of two words: nibble i of the selector names the byte that becomes byte i.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    uint64_t bytes = (uint64_t(b) << 32) | a;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) {
        result |= unsigned((bytes >> (8 * ((selector >> (4 * i)) & 7))) & 0xff) << (8 * i);
    }
    return result;
}

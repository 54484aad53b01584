// The tensor cores of sm_90 as only its own instructions (wgmma, of sm_90a) reach them at full rate: 128 threads multiply a [64, 16] matrix with a [16, 128] one, both in shared memory.
// Matrices lie with 64 elements of k a row, 128 bytes, in groups of eight rows, 1024 bytes and aligned to as many, whose pieces of 16 bytes are exchanged: piece p of row r is at p ^ (r % 8).
// D [64, 128]: warp w has rows 16w to 16w + 15; lane 4g + c has in d[4j + i] row g + i / 2 * 8, column 8j + 2c + i % 2.
#pragma once

#include "TensorCore.cuh"

constexpr int GroupRowBytes = 128;

#ifdef SCRIPTEDSERVE_EMULATED
namespace emulation {
unsigned shared_offset(const void* pointer);
void multiply_group(float d[64], unsigned long long a, unsigned long long b, bool accumulate, bool bf16);
}
inline unsigned shared_address(const void* pointer) { return emulation::shared_offset(pointer); }
template <typename T> inline void multiply_group(float (&d)[64], unsigned long long a, unsigned long long b, bool accumulate) {
    emulation::multiply_group(d, a, b, accumulate, sizeof(T) == 2 && T::Bf16);
}
inline void begin_group() {}
inline void end_group() {}
inline void wait_for_group() {}
inline void show_group() {}
#else
/// d = a * b, added to d if `accumulate`, once wait_for_group has been called. T is bf16 or f16. Descriptors are of group_matrix.
template <typename T> __device__ __forceinline__ void multiply_group(float (&d)[64], unsigned long long a, unsigned long long b, bool accumulate);

#define GROUP_EIGHT(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define GROUP_PRODUCT(type) \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n" \
        "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " " \
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, " \
        "%64, %65, p, 1, 1, 0, 0;\n}\n" \
        : GROUP_EIGHT(d, 0), GROUP_EIGHT(d, 8), GROUP_EIGHT(d, 16), GROUP_EIGHT(d, 24), GROUP_EIGHT(d, 32), GROUP_EIGHT(d, 40), GROUP_EIGHT(d, 48), GROUP_EIGHT(d, 56) \
        : "l"(a), "l"(b), "r"((int)accumulate))
template <> __device__ __forceinline__ void multiply_group<bf16>(float (&d)[64], unsigned long long a, unsigned long long b, bool accumulate) { GROUP_PRODUCT("bf16"); }
template <> __device__ __forceinline__ void multiply_group<f16>(float (&d)[64], unsigned long long a, unsigned long long b, bool accumulate) { GROUP_PRODUCT("f16"); }

/// Before the first product of some that use registers written otherwise.
__device__ __forceinline__ void begin_group() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

/// Closes a group of products.
__device__ __forceinline__ void end_group() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/// Until all products are done.
__device__ __forceinline__ void wait_for_group() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }

/// What this thread has brought to shared memory can be read by products after the next barrier.
__device__ __forceinline__ void show_group() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
#endif

/// Describes a matrix in shared memory to the products: groups of eight rows lie 1024 bytes apart, pieces exchanged over 128 bytes. To go on by 16 elements of k, add 2.
__device__ __forceinline__ unsigned long long group_matrix(const void* first) {
    return (unsigned long long)((shared_address(first) & 0x3ffff) >> 4) | 1ull << 16 | (unsigned long long)(8 * GroupRowBytes >> 4) << 32 | 1ull << 62;
}

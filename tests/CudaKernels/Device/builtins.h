// What NVRTC knows without any header, as far as the kernels use it, for a compiler of CUDA that has no toolkit beside it. A name that is not here is one that the kernels may not use
// before it has been looked up in NVRTC's manual; mathematical functions are declared only: what they compute is the toolkit's.
#pragma once

#define __host__ __attribute__((host))
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define __align__(n) __attribute__((aligned(n)))

using size_t = decltype(sizeof(0));

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
struct __align__(8) int2 { int x, y; };
struct __align__(16) int4 { int x, y, z, w; };
struct __align__(8) uint2 { unsigned x, y; };
struct __align__(16) uint4 { unsigned x, y, z, w; };
struct __align__(8) float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
__device__ inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
__device__ inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
__device__ inline float2 make_float2(float x, float y) { return {x, y}; }
__device__ inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

#include <__clang_cuda_builtin_vars.h>

__device__ inline void __syncwarp(unsigned mask = 0xffffffffu) { __nvvm_bar_warp_sync(mask); }
__device__ inline unsigned __ballot_sync(unsigned mask, int predicate) { return __nvvm_vote_ballot_sync(mask, predicate); }
#define SHUFFLE(name, builtin, clamp) \
    __device__ inline int name(unsigned mask, int value, int with) { return builtin##_i32(mask, value, with, clamp); } \
    __device__ inline unsigned name(unsigned mask, unsigned value, int with) { return (unsigned)builtin##_i32(mask, (int)value, with, clamp); } \
    __device__ inline float name(unsigned mask, float value, int with) { return builtin##_f32(mask, value, with, clamp); } \
    __device__ inline unsigned long long name(unsigned mask, unsigned long long value, int with) { \
        unsigned low = name(mask, (unsigned)value, with), high = name(mask, (unsigned)(value >> 32), with); \
        return (unsigned long long)high << 32 | low; \
    } \
    __device__ inline double name(unsigned mask, double value, int with) { \
        unsigned long long bits; \
        __builtin_memcpy(&bits, &value, 8); \
        bits = name(mask, bits, with); \
        __builtin_memcpy(&value, &bits, 8); \
        return value; \
    }
SHUFFLE(__shfl_sync, __nvvm_shfl_sync_idx, 31)
SHUFFLE(__shfl_xor_sync, __nvvm_shfl_sync_bfly, 31)
SHUFFLE(__shfl_up_sync, __nvvm_shfl_sync_up, 0)

__device__ inline float __uint_as_float(unsigned bits) { return __builtin_bit_cast(float, bits); }
__device__ inline unsigned __float_as_uint(float value) { return __builtin_bit_cast(unsigned, value); }
__device__ inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
__device__ inline size_t __cvta_generic_to_shared(const void* pointer) { return (size_t)(__attribute__((address_space(3))) const void*)pointer; }
__device__ inline unsigned long long atomicAdd(unsigned long long* address, unsigned long long value) { return __nvvm_atom_add_gen_ll((long long*)address, (long long)value); }
__device__ inline int atomicAdd(int* address, int value) { return __nvvm_atom_add_gen_i(address, value); }

__device__ inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    unsigned result;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(selector));
    return result;
}

#define EXTREMES(type) \
    __device__ inline type min(type a, type b) { return b < a ? b : a; } \
    __device__ inline type max(type a, type b) { return a < b ? b : a; }
EXTREMES(int) EXTREMES(unsigned) EXTREMES(long long) EXTREMES(unsigned long long)

__device__ inline float fminf(float a, float b) { return __builtin_fminf(a, b); }
__device__ inline float fmaxf(float a, float b) { return __builtin_fmaxf(a, b); }
__device__ inline float fabsf(float x) { return __builtin_fabsf(x); }
__device__ inline float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
__device__ inline double ceil(double x) { return __builtin_ceil(x); }
extern "C" {
__device__ float expf(float);
__device__ float exp2f(float);
__device__ float tanhf(float);
__device__ float sqrtf(float);
__device__ double exp(double);
__device__ double log(double);
__device__ double sin(double);
__device__ double cos(double);
}

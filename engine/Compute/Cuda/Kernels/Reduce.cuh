// Sums and maxima over warps and blocks. The order of additions is fixed by the thread numbers, so the same inputs give the same bits in every launch.
#pragma once

constexpr unsigned AllLanes = 0xffffffffu;
constexpr int WarpSize = 32;
constexpr int MaxWarps = 32;

__device__ __forceinline__ float infinity() { return __uint_as_float(0x7f800000u); }

template <typename T> __device__ __forceinline__ T warp_sum(T value) {
    for (int with = 16; with > 0; with /= 2) {
        value += __shfl_xor_sync(AllLanes, value, with);
    }
    return value;
}

/// The block's sum, in every thread. `scratch` holds MaxWarps values; it can be used again after the next barrier.
template <typename T> __device__ __forceinline__ T block_sum(T value, T* scratch) {
    int lane = threadIdx.x % WarpSize, warp = threadIdx.x / WarpSize;
    value = warp_sum(value);
    if (lane == 0) {
        scratch[warp] = value;
    }
    __syncthreads();
    T sum = 0;
    for (int i = 0; i < (int)blockDim.x / WarpSize; i++) {
        sum += scratch[i];
    }
    return sum;
}

/// A value and where it stands.
struct Candidate { float value; int index; };

__device__ __forceinline__ Candidate better(Candidate a, Candidate b) {
    return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}

/// The block's largest value, of equal ones that of the lowest index, in every thread. `scratch` as in block_sum.
__device__ __forceinline__ Candidate block_best(Candidate own, Candidate* scratch) {
    int lane = threadIdx.x % WarpSize, warp = threadIdx.x / WarpSize;
    for (int with = 16; with > 0; with /= 2) {
        own = better(own, Candidate{__shfl_xor_sync(AllLanes, own.value, with), __shfl_xor_sync(AllLanes, own.index, with)});
    }
    if (lane == 0) {
        scratch[warp] = own;
    }
    __syncthreads();
    own = scratch[0];
    for (int i = 1; i < (int)blockDim.x / WarpSize; i++) {
        own = better(own, scratch[i]);
    }
    return own;
}

// Number types of weights, activations and KV. Arithmetic is f32; these are ways to store.
#pragma once

#include "TensorCore.cuh"

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bf16 value) { return __uint_as_float((unsigned)value.bits << 16); }
__device__ __forceinline__ float to_float(f16 value) { return half_to_float(value.bits); }

template <typename T> __device__ __forceinline__ T from_float(float value);
template <> __device__ __forceinline__ float from_float<float>(float value) { return value; }
template <> __device__ __forceinline__ f16 from_float<f16>(float value) { return {float_to_half(value)}; }

template <> __device__ __forceinline__ bf16 from_float<bf16>(float value) { return {(unsigned short)pack_bf16(value, 0.0f)}; }

/// Two numbers in a word, the first in its low half. T is bf16 or f16.
template <typename T> __device__ __forceinline__ unsigned pack(float first, float second);
template <> __device__ __forceinline__ unsigned pack<bf16>(float first, float second) { return pack_bf16(first, second); }
template <> __device__ __forceinline__ unsigned pack<f16>(float first, float second) { return pack_f16(first, second); }

/// Eight consecutive elements, as T, two a word. `from` is aligned to eight elements.
template <typename T, typename Stored> struct Eight {
    static __device__ __forceinline__ uint4 load(const Stored* from) {
        unsigned words[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            words[i] = pack<T>(to_float(from[2 * i]), to_float(from[2 * i + 1]));
        }
        return make_uint4(words[0], words[1], words[2], words[3]);
    }
};

template <typename T> struct Eight<T, T> {
    static __device__ __forceinline__ uint4 load(const T* from) { return *reinterpret_cast<const uint4*>(from); }
};

template <typename T> struct Eight<T, float> {
    static __device__ __forceinline__ uint4 load(const float* from) {
        float4 low = reinterpret_cast<const float4*>(from)[0], high = reinterpret_cast<const float4*>(from)[1];
        return make_uint4(pack<T>(low.x, low.y), pack<T>(low.z, low.w), pack<T>(high.x, high.y), pack<T>(high.z, high.w));
    }
};

template <typename T, typename Stored> __device__ __forceinline__ uint4 load_eight(const Stored* from) { return Eight<T, Stored>::load(from); }

template <typename A, typename B> struct Same { static constexpr bool value = false; };
template <typename A> struct Same<A, A> { static constexpr bool value = true; };

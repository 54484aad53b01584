// How a weight matrix [outputs, inputs] is stored: in the compute type, or as codes of 8 bits with a scale for each 32 inputs of an output. A weight is its code times its scale, rounded to the
// compute type: what is computed with it is the same whichever kernel reads it.
#pragma once

#include "Numbers.cuh"

/// 128 more than an integer from -127 to 127.
struct int8_code { unsigned char bits; };

/// FP8 in the form of 4 bits of exponent and 3 of fraction, without its two codes for no number.
struct e4m3_code { unsigned char bits; };

/// Inputs that share a scale.
constexpr int ScaleInputs = 32;

/// Rows of `inputs` elements, a multiple of 8. scales: [outputs, ceil(inputs / ScaleInputs)], null where weights are of the compute type.
template <typename W> struct Matrix {
    const W* weights;
    const bf16* scales;
};

/// Four codes as numbers, exactly.
__device__ __forceinline__ void decode_four(float (&numbers)[4], unsigned codes, float scale, int8_code) {
    // The code becomes bits 8 to 15 of 2^15, of which bit 8 is 1. All products here have fewer bits than a float.
    float offset = -(32768.0f + 128.0f) * scale;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        numbers[i] = fmaf(__uint_as_float(__byte_perm(codes, 0x47000000u, 0x7404 | i << 4)), scale, offset);
    }
}

__device__ __forceinline__ void decode_four(float (&numbers)[4], unsigned codes, float scale, e4m3_code) {
    // Exponents of 4 bits in the place of those of 8 are 120 too small.
    float scaled = scale * __uint_as_float((120u + 127u) << 23);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int top = (int)__byte_perm(codes, 0, 0x0444 | i << 12);
        numbers[i] = __uint_as_float((unsigned)(top >> 4) & 0x87f00000u) * scaled;
    }
}

/// Eight weights on their way: loaded, and not looked at yet.
template <typename T, typename W> struct EightWeights {
    uint2 codes;
    bf16 scale;

    /// Of `output`, from input k on, a multiple of 8; nothing if not `inside`.
    static __device__ __forceinline__ EightWeights load(Matrix<W> matrix, int output, int k, int inputs, bool inside) {
        if (!inside) {
            return {make_uint2(0, 0), {0}};
        }
        return {*reinterpret_cast<const uint2*>(matrix.weights + (size_t)output * inputs + k), matrix.scales[(size_t)output * ((inputs + ScaleInputs - 1) / ScaleInputs) + k / ScaleInputs]};
    }

    /// As T, two a word. What was not inside has scale 0.
    __device__ __forceinline__ uint4 numbers() const {
        float low[4], high[4];
        decode_four(low, codes.x, to_float(scale), W{});
        decode_four(high, codes.y, to_float(scale), W{});
        return make_uint4(pack<T>(low[0], low[1]), pack<T>(low[2], low[3]), pack<T>(high[0], high[1]), pack<T>(high[2], high[3]));
    }
};

template <typename T> struct EightWeights<T, T> {
    uint4 words;

    static __device__ __forceinline__ EightWeights load(Matrix<T> matrix, int output, int k, int inputs, bool inside) {
        return {inside ? *reinterpret_cast<const uint4*>(matrix.weights + (size_t)output * inputs + k) : make_uint4(0, 0, 0, 0)};
    }

    __device__ __forceinline__ uint4 numbers() const { return words; }
};

/// One weight, for the rows of an embedding.
template <typename T, typename W> __device__ __forceinline__ float weight_at(Matrix<W> matrix, int output, int input, int inputs) {
    if constexpr (Same<T, W>::value) {
        return to_float(matrix.weights[(size_t)output * inputs + input]);
    } else {
        float numbers[4];
        unsigned code = matrix.weights[(size_t)output * inputs + input].bits;
        decode_four(numbers, code, to_float(matrix.scales[(size_t)output * ((inputs + ScaleInputs - 1) / ScaleInputs) + input / ScaleInputs]), W{});
        return to_float(from_float<T>(numbers[0]));
    }
}

/// Of matrices that lie one behind the other.
template <typename W> __device__ __forceinline__ Matrix<W> expert_matrix(Matrix<W> all, int expert, int inputs, int outputs) {
    size_t rows = (size_t)expert * outputs;
    return {all.weights + rows * inputs, all.scales == nullptr ? nullptr : all.scales + rows * ((inputs + ScaleInputs - 1) / ScaleInputs)};
}

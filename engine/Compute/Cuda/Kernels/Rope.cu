// From the projections to the pages: heads are normed and rotated, queries laid out for attention, keys and values written into the KV pool.
#include "Numbers.cuh"
#include "Reduce.cuh"

/// angles [rows, pairs]: (cos, sin) of positions[row] * frequency, times magnitude, in double as the CPU has them. longContexts[row] picks the second half of
/// frequencies [2, pairs]. Once a step for each distinct rotation. Grid: (rows, ceil(pairs / block)).
__global__ void rope_angles(float2* angles, const double* frequencies, const int* positions, const int* longContexts, double magnitude, int pairs) {
    int pair = blockIdx.y * blockDim.x + threadIdx.x;
    if (pair < pairs) {
        int row = blockIdx.x;
        double angle = positions[row] * frequencies[(longContexts[row] != 0 ? pairs : 0) + pair];
        angles[(size_t)row * pairs + pair] = make_float2((float)(cos(angle) * magnitude), (float)(sin(angle) * magnitude));
    }
}

/// A head on its way from x to y, by one warp: normed (weights may be null), the first 2 * pairs elements rotated, zeros up to the stride.
template <typename T, typename Y>
__device__ __forceinline__ void place_head(const T* x, Y* y, const float* norm, const float2* angles, int pairs, int headDim, int headStride, float epsilon) {
    int lane = threadIdx.x % WarpSize;
    float scale = 1;
    if (norm != nullptr) {
        float squares = 0;
        for (int i = lane; i < headDim; i += WarpSize) {
            squares += to_float(x[i]) * to_float(x[i]);
        }
        scale = 1.0f / sqrtf(warp_sum(squares) / headDim + epsilon);
    }
    for (int i = lane; i < pairs; i += WarpSize) {
        float low = to_float(x[i]), high = to_float(x[pairs + i]);
        if (norm != nullptr) {
            low *= scale * norm[i];
            high *= scale * norm[pairs + i];
        }
        float2 angle = angles[i];
        y[i] = from_float<Y>(low * angle.x - high * angle.y);
        y[pairs + i] = from_float<Y>(high * angle.x + low * angle.y);
    }
    for (int i = 2 * pairs + lane; i < headStride; i += WarpSize) {
        float value = i < headDim ? to_float(x[i]) : 0.0f;
        y[i] = from_float<Y>(i < headDim && norm != nullptr ? value * scale * norm[i] : value);
    }
}

/// qkv [rows, (heads + 2 kvHeads) * headDim]: queries go to queries [rows, heads, headStride], keys and values to their slot of the layer's pages, each of
/// [keys, values][kvHeads, pageTokens, headStride]. slots[row] = page * pageTokens + place in it; below 0 the row is padding, and its KV goes nowhere.
/// Grid: rows; a warp takes heads in turn. pageElements: from one page to the next.
template <typename T, typename KV>
__global__ void rope_kv(
    const T* qkv, T* queries, KV* pages, const int* slots, const float2* angles, const float* queryNorm, const float* keyNorm,
    int heads, int kvHeads, int headDim, int headStride, int pairs, int pageTokens, size_t pageElements, float epsilon) {
    int row = blockIdx.x, slot = slots[row];
    const T* x = qkv + (size_t)row * (heads + 2 * kvHeads) * headDim;
    const float2* turn = angles + (size_t)row * pairs;
    for (int head = threadIdx.x / WarpSize; head < heads + 2 * kvHeads; head += blockDim.x / WarpSize) {
        if (head < heads) {
            place_head(x + head * headDim, queries + ((size_t)row * heads + head) * headStride, queryNorm, turn, pairs, headDim, headStride, epsilon);
            continue;
        }
        if (slot < 0) {
            continue;
        }
        bool isKey = head < heads + kvHeads;
        int kvHead = isKey ? head - heads : head - heads - kvHeads;
        KV* y = pages + (size_t)(slot / pageTokens) * pageElements
            + ((size_t)((isKey ? 0 : kvHeads) + kvHead) * pageTokens + slot % pageTokens) * headStride;
        // Values are neither normed nor rotated.
        place_head(x + head * headDim, y, isKey ? keyNorm : nullptr, turn, isKey ? pairs : 0, headDim, headStride, epsilon);
    }
}

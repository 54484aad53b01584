// What attention is made of, in decoding as in prefill: units, runs of a fixed number of positions counted from position 0, each computed for itself (its largest score, its sum of weights, its
// weighted sum of values) and then merged in ascending order. Both kernels run these functions with the same order of every sum, so that a token's attention has the
// same bits whether it is decoded or part of a prompt, however that was cut, and whatever is computed beside it.
#pragma once

#include "Numbers.cuh"
#include "Reduce.cuh"

extern __shared__ __align__(16) unsigned char shared_memory[];

constexpr float Log2E = 1.44269504f;

/// Tokens of a unit.
__host__ __device__ constexpr int unit_tokens(int headStride) { return headStride > 128 ? 32 : 64; }

/// Elements of a token in shared memory: whole steps of 16, and 8 more, so that the rows of a matrix lie in different banks.
__host__ __device__ constexpr int unit_row_elements(int headStride) { return (headStride + 15) / 16 * 16 + 8; }

/// Shared memory for a unit's keys and values, in 2-byte elements.
__host__ __device__ constexpr int unit_shared_bytes(int headStride) { return 2 * unit_tokens(headStride) * unit_row_elements(headStride) * 2; }

/// The layer's part of the pool: pages of [keys, values][kvHeads, pageTokens, headStride].
template <typename KV> struct LayerPages {
    const KV* pages;
    size_t pageElements;
    int pageTokens;
    int kvHeads;
};

/// Where the keys of a unit's tokens lie in the pool, for one head, in elements: lane l of each warp knows tokens l and l + 32. Every vector is asked for in pieces, and pages are looked up
/// once for all of them.
template <int HeadStride> struct UnitRows { unsigned long long keys[unit_tokens(HeadStride) / WarpSize]; };

/// Of a position that is not there.
constexpr unsigned long long Nowhere = ~0ull;

/// The rows of the unit that begins at position `unit`; nowhere for positions not in [begin, end).
template <int HeadStride, typename KV>
__device__ __forceinline__ UnitRows<HeadStride> find_unit(LayerPages<KV> layer, const int* pages, int unit, int begin, int end, int kvHead) {
    UnitRows<HeadStride> rows;
#pragma unroll
    for (int i = 0; i < unit_tokens(HeadStride) / WarpSize; i++) {
        int token = unit + i * WarpSize + threadIdx.x % WarpSize;
        rows.keys[i] = Nowhere;
        if (token >= begin && token < end) {
            rows.keys[i] = (unsigned long long)pages[token / layer.pageTokens] * layer.pageElements + ((size_t)kvHead * layer.pageTokens + token % layer.pageTokens) * HeadStride;
        }
    }
    return rows;
}

/// Brings a unit's keys (plane 0) or values (plane 1) of one head into shared memory, by all Threads of the block; zeros where there are no rows.
template <typename T, int Threads, typename KV, int HeadStride>
__device__ __forceinline__ void load_unit(T* shared, LayerPages<KV> layer, UnitRows<HeadStride> rows, int plane) {
    constexpr int Row = unit_row_elements(HeadStride), Pieces = (HeadStride + 15) / 16 * 2, Tokens = unit_tokens(HeadStride);
    const KV* base = layer.pages + (size_t)plane * layer.kvHeads * layer.pageTokens * HeadStride;
#pragma unroll 8
    for (int i = 0; i < (Tokens * Pieces + Threads - 1) / Threads; i++) {
        int piece = i * Threads + threadIdx.x, token = piece / Pieces, element = piece % Pieces * 8;
        // Whole warps, so that each lane can ask another one.
        if (Tokens * Pieces % Threads != 0 && piece >= Tokens * Pieces) {
            break;
        }
        unsigned long long row = __shfl_sync(AllLanes, rows.keys[0], token % WarpSize);
        if constexpr (Tokens > WarpSize) {
            unsigned long long later = __shfl_sync(AllLanes, rows.keys[1], token % WarpSize);
            row = token < WarpSize ? row : later;
        }
        T* to = shared + token * Row + element;
        bool inside = row != Nowhere && element < HeadStride;
        const KV* from = inside ? base + row + element : layer.pages;
        if constexpr (Same<KV, T>::value) {
            copy_async(to, from, inside);
        } else {
            *reinterpret_cast<uint4*>(to) = inside ? load_eight<T>(from) : make_uint4(0, 0, 0, 0);
        }
    }
    commit_copies();
}

/// The 16 rows of a warp, of which a lane 4g + c has rows g and g + 8: which positions each sees (none where the row does not exist).
struct Visible {
    int begin[2], end[2];
};

/// Of the lane's two rows, in one unit: the largest score (minus infinity where nothing is seen) and the sum of the weights relative to it.
struct UnitState {
    float largest[2], sum[2];
};

/// Queries of 16 rows as the tensor cores take them; row_of(i) is the vector of the lane's row i.
template <typename T, int HeadStride, typename RowOf>
__device__ __forceinline__ void load_queries(unsigned (&query)[(HeadStride + 15) / 16][4], Visible visible, RowOf row_of) {
    int c = threadIdx.x % 4;
#pragma unroll
    for (int step = 0; step < (HeadStride + 15) / 16; step++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int element = 16 * step + 2 * c + i / 2 * 8;
            bool inside = visible.end[i % 2] > 0 && element < HeadStride;
            query[step][i] = inside ? *reinterpret_cast<const unsigned*>(row_of(i % 2) + element) : 0;
        }
    }
}

/// scores[t] of the rows with tokens 8t + 2c and 8t + 2c + 1 of the unit: of row g, then of row g + 8.
template <typename T, int HeadStride>
__device__ __forceinline__ void score_unit(float (&scores)[unit_tokens(HeadStride) / 8][4], const unsigned (&query)[(HeadStride + 15) / 16][4], const T* keys) {
    constexpr int Row = unit_row_elements(HeadStride);
    int lane = threadIdx.x % WarpSize;
#pragma unroll
    for (int pair = 0; pair < unit_tokens(HeadStride) / 16; pair++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            scores[2 * pair][i] = scores[2 * pair + 1][i] = 0;
        }
#pragma unroll
        for (int step = 0; step < (HeadStride + 15) / 16; step++) {
            unsigned words[4];
            load_matrices(words, keys + (16 * pair + lane / 16 * 8 + lane % 8) * Row + 16 * step + lane / 8 % 2 * 8);
            unsigned first[2] = {words[0], words[1]}, second[2] = {words[2], words[3]};
            multiply_accumulate<T>(scores[2 * pair], query[step], first);
            multiply_accumulate<T>(scores[2 * pair + 1], query[step], second);
        }
    }
}

/// Turns the scores of the unit that begins at position `unit` into weights, 0 for what a row does not see.
template <int Tiles>
__device__ __forceinline__ UnitState weigh_unit(float (&scores)[Tiles][4], int unit, Visible visible, float scale, float softCap) {
    int c = threadIdx.x % 4;
    UnitState state = {{-infinity(), -infinity()}, {0, 0}};
#pragma unroll
    for (int t = 0; t < Tiles; t++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int token = unit + 8 * t + 2 * c + i % 2;
            float score = scores[t][i] * scale;
            score = softCap > 0 ? softCap * tanhf(score / softCap) : score;
            scores[t][i] = token >= visible.begin[i / 2] && token < visible.end[i / 2] ? score : -infinity();
            state.largest[i / 2] = fmaxf(state.largest[i / 2], scores[t][i]);
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        state.largest[i] = fmaxf(state.largest[i], __shfl_xor_sync(AllLanes, state.largest[i], 1));
        state.largest[i] = fmaxf(state.largest[i], __shfl_xor_sync(AllLanes, state.largest[i], 2));
        // Where nothing is seen: no infinite differences.
        float base = state.largest[i] == -infinity() ? 0.0f : state.largest[i];
#pragma unroll
        for (int t = 0; t < Tiles; t++) {
#pragma unroll
            for (int j = 2 * i; j < 2 * i + 2; j++) {
                scores[t][j] = exp2f((scores[t][j] - base) * Log2E);
                state.sum[i] += scores[t][j];
            }
        }
        state.sum[i] += __shfl_xor_sync(AllLanes, state.sum[i], 1);
        state.sum[i] += __shfl_xor_sync(AllLanes, state.sum[i], 2);
    }
    return state;
}

/// Elements 16 * step + 2c, + 1 (first) and + 8 (second) of the unit's weighted values: of row g, then of row g + 8.
template <typename T, int HeadStride>
__device__ __forceinline__ void sum_values(
    float (&first)[4], float (&second)[4], const float (&weights)[unit_tokens(HeadStride) / 8][4], const T* values, int step) {
    constexpr int Row = unit_row_elements(HeadStride);
    int lane = threadIdx.x % WarpSize;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        first[i] = second[i] = 0;
    }
#pragma unroll
    for (int pair = 0; pair < unit_tokens(HeadStride) / 16; pair++) {
        unsigned packed[4] = {
            pack<T>(weights[2 * pair][0], weights[2 * pair][1]), pack<T>(weights[2 * pair][2], weights[2 * pair][3]),
            pack<T>(weights[2 * pair + 1][0], weights[2 * pair + 1][1]), pack<T>(weights[2 * pair + 1][2], weights[2 * pair + 1][3])};
        unsigned words[4];
        load_matrices_transposed(words, values + (16 * pair + lane / 8 % 2 * 8 + lane % 8) * Row + 16 * step + lane / 16 * 8);
        unsigned low[2] = {words[0], words[1]}, high[2] = {words[2], words[3]};
        multiply_accumulate<T>(first, packed, low);
        multiply_accumulate<T>(second, packed, high);
    }
}

/// How a unit joins the units before it: sums become sums * before + the unit's * own.
struct Merge { float before, own; };

/// Takes a unit into a row's largest score and sum of weights, at first minus infinity and 0. A unit of which nothing is seen leaves both, and by its merge everything, as they are.
__device__ __forceinline__ Merge merge_unit(float& largest, float& sum, float unitLargest, float unitSum) {
    float most = fmaxf(largest, unitLargest), base = most == -infinity() ? 0.0f : most;
    Merge merge = {exp2f((largest - base) * Log2E), exp2f((unitLargest - base) * Log2E)};
    largest = most;
    sum = fmaf(unitSum, merge.own, sum * merge.before);
    return merge;
}

__device__ __forceinline__ float merged(float before, float own, Merge merge) { return fmaf(own, merge.own, before * merge.before); }

// Attention of one token a sequence over its pages (split over the KV as in Flash-Decoding), on tensor cores: the query heads that share a key/value head are
// the columns of one product, so KV is read once for all of them. Splits are runs of a fixed number of positions, counted from position 0, whatever else is in the
// batch: a token's result has the same bits in every batch.
#pragma once

#include "Numbers.cuh"
#include "Reduce.cuh"

extern __shared__ __align__(16) unsigned char shared_memory[];

constexpr int SplitTokens = 256;
constexpr int DecodeWarps = 4;
constexpr int TileTokens = 16;
constexpr int TileHeads = 8;
constexpr float Log2E = 1.44269504f;

/// What the rows of a step have in the pool. A row attends to positions [max(0, lengths - window), lengths) of the sequence whose pages begin at pageBegins in
/// `pages`; a length of 0 is padding.
struct PagedRows {
    const int* lengths;
    const int* pageBegins;
    const int* pages;
};

/// The layer's part of the pool: pages of [keys, values][kvHeads, pageTokens, headStride].
template <typename KV> struct LayerPages {
    const KV* pages;
    size_t pageElements;
    int pageTokens;
    int kvHeads;
};

/// The token's vector of one head; `plane` is 0 for keys, 1 for values.
template <typename KV>
__device__ __forceinline__ const KV* kv_row(LayerPages<KV> layer, const int* pages, int token, int kvHead, int plane, int headStride) {
    return layer.pages + (size_t)pages[token / layer.pageTokens] * layer.pageElements
        + ((size_t)(plane * layer.kvHeads + kvHead) * layer.pageTokens + token % layer.pageTokens) * headStride;
}

__device__ __forceinline__ float score_of(float product, float scale, float softCap) {
    float score = product * scale;
    return softCap > 0 ? softCap * tanhf(score / softCap) : score;
}

__device__ __forceinline__ unsigned word_of(uint4 words, int i) {
    return i == 0 ? words.x : i == 1 ? words.y : i == 2 ? words.z : words.w;
}

/// One warp's state for up to 8 heads. A lane 4g + c has the heads 2c and 2c+1; of the sums over values, elements 64v + 8g + 2i (sums 0, 1) and one more (2, 3).
template <int HeadStride> struct DecodeState {
    static constexpr int ValueChunks = (HeadStride + 63) / 64;
    float largest[2], sum[2];
    float values[ValueChunks][4][4];
};

/// Scores of 16 tokens: s0, s1 of token g, s2, s3 of token g + 8, for heads 2c and 2c+1.
template <typename T, typename KV, int HeadStride>
__device__ __forceinline__ void tile_scores(float (&scores)[4], const uint4* queries, const KV* low, const KV* high) {
    const uint4 nothing = make_uint4(0, 0, 0, 0);
    int c = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        scores[i] = 0;
    }
#pragma unroll
    for (int chunk = 0; chunk < (HeadStride + 31) / 32; chunk++) {
        bool inside = 32 * chunk + 8 * c < HeadStride;
        uint4 a = inside && low != nullptr ? load_eight<T>(low + 32 * chunk + 8 * c) : nothing;
        uint4 b = inside && high != nullptr ? load_eight<T>(high + 32 * chunk + 8 * c) : nothing;
        unsigned first[4] = {a.x, b.x, a.y, b.y}, second[4] = {a.z, b.z, a.w, b.w};
        unsigned firstQuery[2] = {queries[chunk].x, queries[chunk].y}, secondQuery[2] = {queries[chunk].z, queries[chunk].w};
        multiply_accumulate<T>(scores, first, firstQuery);
        multiply_accumulate<T>(scores, second, secondQuery);
    }
}

/// Adds the values of 16 tokens, weighted; rows are those of tokens 2c, 2c+1, 2c+8, 2c+9, null where there is none.
template <typename T, typename KV, int HeadStride>
__device__ __forceinline__ void add_values(DecodeState<HeadStride>& state, const unsigned (&weights)[2], const KV* const (&rows)[4]) {
    int g = threadIdx.x % WarpSize / 4;
#pragma unroll
    for (int chunk = 0; chunk < DecodeState<HeadStride>::ValueChunks; chunk++) {
        uint4 words[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            bool inside = 64 * chunk + 8 * g < HeadStride && rows[i] != nullptr;
            words[i] = inside ? load_eight<T>(rows[i] + 64 * chunk + 8 * g) : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            unsigned v0 = word_of(words[0], i), v1 = word_of(words[1], i), v2 = word_of(words[2], i), v3 = word_of(words[3], i);
            // Rows g of the product are the even elements of the lanes' eight, rows g + 8 the odd ones.
            unsigned a[4] = {__byte_perm(v0, v1, 0x5410), __byte_perm(v0, v1, 0x7632), __byte_perm(v2, v3, 0x5410), __byte_perm(v2, v3, 0x7632)};
            multiply_accumulate<T>(state.values[chunk][i], a, weights);
        }
    }
}

/// The largest of both values over the lanes with the same c.
__device__ __forceinline__ void largest_over_tokens(float (&values)[2]) {
#pragma unroll
    for (int with = 4; with < WarpSize; with *= 2) {
        values[0] = fmaxf(values[0], __shfl_xor_sync(AllLanes, values[0], with));
        values[1] = fmaxf(values[1], __shfl_xor_sync(AllLanes, values[1], with));
    }
}

/// Shared memory of paged_decode: of each warp, per head, the largest score, the sum of weights, and the weighted sum of values.
__host__ __device__ constexpr int decode_shared_bytes(int headStride) { return DecodeWarps * TileHeads * (2 + headStride) * 4; }

/// sums [rows, heads, splits, headStride] and extremes [rows, heads, splits, 2] (largest score, sum of weights) of each split that has visible tokens; others are not written.
/// Grid: (splits, kvHeads * ceil(Group / 8), rows); block: DecodeWarps * 32; shared memory: decode_shared_bytes.
/// queries [rows, heads, headStride], zeros behind the head's elements. softCap 0: none.
template <typename T, typename KV, int HeadStride, int Group>
__global__ void __launch_bounds__(DecodeWarps * WarpSize) paged_decode(
    float* sums, float* extremes, const T* queries, LayerPages<KV> layer, PagedRows rows, int window, float scale, float softCap) {
    constexpr int HeadTiles = (Group + TileHeads - 1) / TileHeads;
    constexpr int KeyChunks = (HeadStride + 31) / 32;
    int row = blockIdx.z, kvHead = blockIdx.y / HeadTiles, firstHead = blockIdx.y % HeadTiles * TileHeads;
    int heads = min(TileHeads, Group - firstHead);
    int length = rows.lengths[row];
    int begin = max(max(0, length - window), (int)blockIdx.x * SplitTokens), end = min(length, ((int)blockIdx.x + 1) * SplitTokens);
    if (begin >= end) {
        return;
    }
    const int* pages = rows.pages + rows.pageBegins[row];
    int lane = threadIdx.x % WarpSize, warp = threadIdx.x / WarpSize, g = lane / 4, c = lane % 4;
    size_t head = ((size_t)row * layer.kvHeads + kvHead) * Group + firstHead;

    uint4 query[KeyChunks];
#pragma unroll
    for (int chunk = 0; chunk < KeyChunks; chunk++) {
        bool inside = g < heads && 32 * chunk + 8 * c < HeadStride;
        query[chunk] = inside ? load_eight<T>(queries + (head + g) * HeadStride + 32 * chunk + 8 * c) : make_uint4(0, 0, 0, 0);
    }

    DecodeState<HeadStride> state = {{-infinity(), -infinity()}, {0, 0}, {}};
    // Tiles begin at multiples of 16, so that a window's begin does not shift them.
    for (int tile = begin / TileTokens * TileTokens + warp * TileTokens; tile < end; tile += DecodeWarps * TileTokens) {
        auto row_of = [&](int token, int plane) -> const KV* {
            return token >= begin && token < end ? kv_row(layer, pages, token, kvHead, plane, HeadStride) : nullptr;
        };
        float scores[4];
        tile_scores<T, KV, HeadStride>(scores, query, row_of(tile + g, 0), row_of(tile + g + 8, 0));
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int token = tile + g + i / 2 * 8;
            scores[i] = token >= begin && token < end ? score_of(scores[i], scale, softCap) : -infinity();
        }
        float most[2] = {fmaxf(scores[0], scores[2]), fmaxf(scores[1], scores[3])};
        largest_over_tokens(most);
        float weights[4];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            // A tile has a visible token, so this is finite.
            most[i] = fmaxf(state.largest[i], most[i]);
            float shrink = exp2f((state.largest[i] - most[i]) * Log2E);
            weights[i] = exp2f((scores[i] - most[i]) * Log2E);
            weights[2 + i] = exp2f((scores[2 + i] - most[i]) * Log2E);
            state.largest[i] = most[i];
            state.sum[i] = state.sum[i] * shrink + weights[i] + weights[2 + i];
#pragma unroll
            for (int chunk = 0; chunk < DecodeState<HeadStride>::ValueChunks; chunk++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    state.values[chunk][j][i] *= shrink;
                    state.values[chunk][j][2 + i] *= shrink;
                }
            }
        }
        unsigned packed[2] = {transpose_matrix(pack<T>(weights[0], weights[1])), transpose_matrix(pack<T>(weights[2], weights[3]))};
        const KV* values[4] = {row_of(tile + 2 * c, 1), row_of(tile + 2 * c + 1, 1), row_of(tile + 2 * c + 8, 1), row_of(tile + 2 * c + 9, 1)};
        add_values<T, KV, HeadStride>(state, packed, values);
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int with = 4; with < WarpSize; with *= 2) {
            state.sum[i] += __shfl_xor_sync(AllLanes, state.sum[i], with);
        }
    }

    // [warps, 8][2] and [warps, 8][headStride].
    float* shares = reinterpret_cast<float*>(shared_memory);
    float* vectors = shares + DecodeWarps * TileHeads * 2;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int slot = warp * TileHeads + 2 * c + i;
        if (g == 0) {
            shares[2 * slot] = state.largest[i];
            shares[2 * slot + 1] = state.sum[i];
        }
#pragma unroll
        for (int chunk = 0; chunk < DecodeState<HeadStride>::ValueChunks; chunk++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                float* to = vectors + (size_t)slot * HeadStride + 64 * chunk + 8 * g + 2 * j;
                if (64 * chunk + 8 * g < HeadStride) {
                    to[0] = state.values[chunk][j][i];
                    to[1] = state.values[chunk][j][2 + i];
                }
            }
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < heads * HeadStride; i += blockDim.x) {
        int own = i / HeadStride, element = i % HeadStride;
        float most = -infinity(), sum = 0, value = 0;
        for (int w = 0; w < DecodeWarps; w++) {
            most = fmaxf(most, shares[2 * (w * TileHeads + own)]);
        }
        for (int w = 0; w < DecodeWarps; w++) {
            int slot = w * TileHeads + own;
            float weight = exp2f((shares[2 * slot] - most) * Log2E);
            sum += weight * shares[2 * slot + 1];
            value += weight * vectors[(size_t)slot * HeadStride + element];
        }
        size_t split = (head + own) * gridDim.x + blockIdx.x;
        sums[split * HeadStride + element] = value;
        if (element == 0) {
            extremes[2 * split] = most;
            extremes[2 * split + 1] = sum;
        }
    }
}

/// outputs [rows, heads * headDim] of what paged_decode left with the same `splits` (its grid's x). Grid: (heads, rows); block: any. Rows of padding become zeros.
template <typename T>
__global__ void combine_splits(
    T* outputs, const float* sums, const float* extremes, const int* lengths, int splits, int window, int headDim, int headStride) {
    int length = lengths[blockIdx.y];
    int first = max(0, length - window) / SplitTokens, last = (length + SplitTokens - 1) / SplitTokens;
    size_t head = (size_t)blockIdx.y * gridDim.x + blockIdx.x;
    for (int i = threadIdx.x; i < headDim; i += blockDim.x) {
        float most = -infinity(), sum = 0, value = 0;
        for (int split = first; split < last; split++) {
            most = fmaxf(most, extremes[2 * (head * splits + split)]);
        }
        for (int split = first; split < last; split++) {
            size_t at = head * splits + split;
            float weight = exp2f((extremes[2 * at] - most) * Log2E);
            sum += weight * extremes[2 * at + 1];
            value += weight * sums[at * headStride + i];
        }
        outputs[head * headDim + i] = from_float<T>(length > 0 ? value / sum : 0.0f);
    }
}

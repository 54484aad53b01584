// Attention of many tokens of a sequence (a chunk of its prompt) over its pages, in the manner of FlashAttention-2: keys and values pass through shared memory in
// tiles, scores never leave the registers. The query heads of a group are rows beside each other (token * Group + head), so that KV is read once for all of them and
// short chunks fill the tensor cores. KV tiles begin at multiples of their size and a tile that a row does not see leaves its state as it is, bit for bit: how the prompt was cut does not show.
#include "PagedDecode.cu"

constexpr int PrefillWarps = 4;
constexpr int PrefillRows = 16 * PrefillWarps;

__host__ __device__ constexpr int prefill_tile_tokens(int headStride) { return headStride > 128 ? 32 : 64; }

/// Elements of a token in shared memory: whole steps of 16, and 8 more, so that the rows of a matrix lie in different banks.
__host__ __device__ constexpr int prefill_row_elements(int headStride) { return (headStride + 15) / 16 * 16 + 8; }

__host__ __device__ constexpr int prefill_shared_bytes(int headStride) { return 2 * prefill_tile_tokens(headStride) * prefill_row_elements(headStride) * 2; }

/// A run of rows of a step that belong to one sequence: row `firstRow` of the step is at `position`.
struct PrefillSlice { int firstRow, count, position, pageBegin; };

/// One block's part: rows [begin, begin + PrefillRows) of the slice's count * Group packed rows.
struct PrefillTile { int slice, begin; };

/// Brings the tile's keys or values of one head into shared memory; zeros for positions not in [begin, end).
template <typename T, typename KV, int HeadStride>
__device__ __forceinline__ void load_tile(T* shared, LayerPages<KV> layer, const int* pages, int tile, int begin, int end, int kvHead, int plane) {
    constexpr int Row = prefill_row_elements(HeadStride), Pieces = (HeadStride + 15) / 16 * 2;
    for (int i = threadIdx.x; i < prefill_tile_tokens(HeadStride) * Pieces; i += PrefillWarps * WarpSize) {
        int token = tile + i / Pieces, element = i % Pieces * 8;
        T* to = shared + i / Pieces * Row + element;
        bool inside = token >= begin && token < end && element < HeadStride;
        const KV* from = inside ? kv_row(layer, pages, token, kvHead, plane, HeadStride) + element : layer.pages;
        if constexpr (Same<KV, T>::value) {
            copy_async(to, from, inside);
        } else {
            *reinterpret_cast<uint4*>(to) = inside ? load_eight<T>(from) : make_uint4(0, 0, 0, 0);
        }
    }
    commit_copies();
}

/// outputs [rows, heads * headDim]; queries [rows, heads, headStride]. Grid: (tiles, kvHeads); block: PrefillWarps * 32; shared memory: prefill_shared_bytes.
/// The KV of the slices' own tokens is in the pages already.
template <typename T, typename KV, int HeadStride, int Group>
__global__ void __launch_bounds__(PrefillWarps * WarpSize) prefill_attention(
    T* outputs, const T* queries, LayerPages<KV> layer, const PrefillSlice* slices, const PrefillTile* tiles, const int* allPages, int headDim, int window, float scale, float softCap) {
    constexpr int Tile = prefill_tile_tokens(HeadStride), Row = prefill_row_elements(HeadStride);
    constexpr int KeySteps = (HeadStride + 15) / 16, TokenTiles = Tile / 8;
    PrefillTile own = tiles[blockIdx.x];
    PrefillSlice slice = slices[own.slice];
    const int* pages = allPages + slice.pageBegin;
    int kvHead = blockIdx.y, heads = layer.kvHeads * Group;
    int lane = threadIdx.x % WarpSize, warp = threadIdx.x / WarpSize, g = lane / 4, c = lane % 4;
    T* keys = reinterpret_cast<T*>(shared_memory);
    T* values = keys + Tile * Row;

    // The lane's rows g and g + 8 of its warp's 16.
    int packed[2], visibleBegin[2], visibleEnd[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        packed[i] = own.begin + warp * 16 + g + 8 * i;
        int position = slice.position + packed[i] / Group;
        bool exists = packed[i] < slice.count * Group;
        visibleEnd[i] = exists ? position + 1 : 0;
        visibleBegin[i] = exists ? max(0, position + 1 - window) : 0;
    }
    auto head_of = [&](int i) { return (size_t)(slice.firstRow + packed[i] / Group) * heads + kvHead * Group + packed[i] % Group; };

    unsigned query[KeySteps][4];
#pragma unroll
    for (int step = 0; step < KeySteps; step++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int element = 16 * step + 2 * c + i / 2 * 8;
            bool inside = visibleEnd[i % 2] > 0 && element < HeadStride;
            query[step][i] = inside ? *reinterpret_cast<const unsigned*>(queries + head_of(i % 2) * HeadStride + element) : 0;
        }
    }

    // What any of the block's rows sees.
    int lastPacked = min(own.begin + PrefillRows, slice.count * Group) - 1;
    int begin = max(0, slice.position + own.begin / Group + 1 - window), end = slice.position + lastPacked / Group + 1;

    float sums[2 * KeySteps][4] = {};
    float largest[2] = {-infinity(), -infinity()}, weightSum[2] = {0, 0};
    int firstTile = begin / Tile * Tile;
    load_tile<T, KV, HeadStride>(keys, layer, pages, firstTile, begin, end, kvHead, 0);
    for (int tile = firstTile; tile < end; tile += Tile) {
        load_tile<T, KV, HeadStride>(values, layer, pages, tile, begin, end, kvHead, 1);
        wait_for_copies<1>();
        __syncthreads();

        float scores[TokenTiles][4] = {};
#pragma unroll
        for (int pair = 0; pair < TokenTiles / 2; pair++) {
#pragma unroll
            for (int step = 0; step < KeySteps; step++) {
                unsigned words[4];
                load_matrices(words, keys + (16 * pair + lane / 16 * 8 + lane % 8) * Row + 16 * step + lane / 8 % 2 * 8);
                unsigned first[2] = {words[0], words[1]}, second[2] = {words[2], words[3]};
                multiply_accumulate<T>(scores[2 * pair], query[step], first);
                multiply_accumulate<T>(scores[2 * pair + 1], query[step], second);
            }
        }
        __syncthreads();
        if (tile + Tile < end) {
            load_tile<T, KV, HeadStride>(keys, layer, pages, tile + Tile, begin, end, kvHead, 0);
        }

        float most[2] = {-infinity(), -infinity()};
#pragma unroll
        for (int t = 0; t < TokenTiles; t++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int token = tile + 8 * t + 2 * c + i % 2;
                bool seen = token >= visibleBegin[i / 2] && token < visibleEnd[i / 2];
                scores[t][i] = seen ? score_of(scores[t][i], scale, softCap) : -infinity();
                most[i / 2] = fmaxf(most[i / 2], scores[t][i]);
            }
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            most[i] = fmaxf(most[i], __shfl_xor_sync(AllLanes, most[i], 1));
            most[i] = fmaxf(most[i], __shfl_xor_sync(AllLanes, most[i], 2));
            most[i] = fmaxf(most[i], largest[i]);
            // Nothing seen so far: no infinite differences.
            float base = most[i] == -infinity() ? 0.0f : most[i];
            float shrink = exp2f((largest[i] - base) * Log2E), sum = 0;
#pragma unroll
            for (int t = 0; t < TokenTiles; t++) {
#pragma unroll
                for (int j = 2 * i; j < 2 * i + 2; j++) {
                    scores[t][j] = exp2f((scores[t][j] - base) * Log2E);
                    sum += scores[t][j];
                }
            }
            largest[i] = most[i];
            weightSum[i] = weightSum[i] * shrink + sum;
#pragma unroll
            for (int d = 0; d < 2 * KeySteps; d++) {
                sums[d][2 * i] *= shrink;
                sums[d][2 * i + 1] *= shrink;
            }
        }

        if (tile + Tile < end) {
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncthreads();
#pragma unroll
        for (int pair = 0; pair < TokenTiles / 2; pair++) {
            unsigned weights[4] = {
                pack<T>(scores[2 * pair][0], scores[2 * pair][1]), pack<T>(scores[2 * pair][2], scores[2 * pair][3]),
                pack<T>(scores[2 * pair + 1][0], scores[2 * pair + 1][1]), pack<T>(scores[2 * pair + 1][2], scores[2 * pair + 1][3])};
#pragma unroll
            for (int step = 0; step < KeySteps; step++) {
                unsigned words[4];
                load_matrices_transposed(words, values + (16 * pair + lane / 8 % 2 * 8 + lane % 8) * Row + 16 * step + lane / 16 * 8);
                unsigned first[2] = {words[0], words[1]}, second[2] = {words[2], words[3]};
                multiply_accumulate<T>(sums[2 * step], weights, first);
                multiply_accumulate<T>(sums[2 * step + 1], weights, second);
            }
        }
        __syncthreads();
    }

#pragma unroll
    for (int i = 0; i < 2; i++) {
        weightSum[i] += __shfl_xor_sync(AllLanes, weightSum[i], 1);
        weightSum[i] += __shfl_xor_sync(AllLanes, weightSum[i], 2);
#pragma unroll
        for (int d = 0; d < 2 * KeySteps; d++) {
            int element = 8 * d + 2 * c;
            if (visibleEnd[i] > 0 && element < headDim) {
                *reinterpret_cast<unsigned*>(outputs + head_of(i) * headDim + element) = pack<T>(sums[d][2 * i] / weightSum[i], sums[d][2 * i + 1] / weightSum[i]);
            }
        }
    }
}

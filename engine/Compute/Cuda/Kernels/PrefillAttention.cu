// Attention of many tokens of a sequence (a chunk of its prompt) over its pages, in the manner of FlashAttention-2: keys and values pass through shared memory unit by
// unit, scores never leave the registers. The query heads of a group are rows beside each other (token * Group + head), so that KV is read once for all of them and
// short chunks fill the tensor cores.
#include "AttentionUnit.cuh"

constexpr int PrefillWarps = 4;
constexpr int PrefillRows = 16 * PrefillWarps;

/// A run of rows of a step that belong to one sequence: row `firstRow` of the step is at `position`.
struct PrefillSlice { int firstRow, count, position, pageBegin; };

/// One block's part: rows [begin, begin + PrefillRows) of the slice's count * Group packed rows.
struct PrefillTile { int slice, begin; };

/// outputs and queries [rows, heads, headStride]. Grid: (tiles, kvHeads); block: PrefillWarps * 32; shared memory: unit_shared_bytes.
/// The KV of the slices' own tokens is in the pages already.
template <typename T, typename KV, int HeadStride, int Group>
__global__ void __launch_bounds__(PrefillWarps * WarpSize) prefill_attention(
    T* outputs, const T* queries, LayerPages<KV> layer, const PrefillSlice* slices, const PrefillTile* tiles, const int* allPages, int window, float scale, float softCap) {
    constexpr int Tokens = unit_tokens(HeadStride), Row = unit_row_elements(HeadStride), Steps = (HeadStride + 15) / 16;
    PrefillTile own = tiles[blockIdx.x];
    PrefillSlice slice = slices[own.slice];
    const int* pages = allPages + slice.pageBegin;
    int kvHead = blockIdx.y, heads = layer.kvHeads * Group;
    int lane = threadIdx.x % WarpSize, warp = threadIdx.x / WarpSize, g = lane / 4, c = lane % 4;
    T* keys = reinterpret_cast<T*>(shared_memory);
    T* values = keys + Tokens * Row;

    int packed[2];
    Visible visible;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        packed[i] = own.begin + warp * 16 + g + 8 * i;
        int position = slice.position + packed[i] / Group;
        bool exists = packed[i] < slice.count * Group;
        visible.end[i] = exists ? position + 1 : 0;
        visible.begin[i] = exists ? max(0, position + 1 - window) : 0;
    }
    auto head_of = [&](int i) { return (size_t)(slice.firstRow + packed[i] / Group) * heads + kvHead * Group + packed[i] % Group; };
    unsigned query[Steps][4];
    load_queries<T, HeadStride>(query, visible, [&](int i) { return queries + head_of(i) * HeadStride; });

    // What any of the block's rows sees.
    int lastPacked = min(own.begin + PrefillRows, slice.count * Group) - 1;
    int begin = max(0, slice.position + own.begin / Group + 1 - window), end = slice.position + lastPacked / Group + 1;

    float sums[2 * Steps][4] = {};
    float largest[2] = {-infinity(), -infinity()}, weightSum[2] = {0, 0};
    int firstUnit = begin / Tokens * Tokens;
    auto unitRows = find_unit<HeadStride>(layer, pages, firstUnit, begin, end, kvHead);
    load_unit<T, PrefillWarps * WarpSize>(keys, layer, unitRows, 0);
    for (int unit = firstUnit; unit < end; unit += Tokens) {
        load_unit<T, PrefillWarps * WarpSize>(values, layer, unitRows, 1);
        // The next unit's pages are looked up while this one's keys arrive.
        unitRows = find_unit<HeadStride>(layer, pages, unit + Tokens, begin, end, kvHead);
        wait_for_copies<1>();
        __syncthreads();
        float scores[Tokens / 8][4];
        score_unit<T, HeadStride>(scores, query, keys);
        __syncthreads();
        if (unit + Tokens < end) {
            load_unit<T, PrefillWarps * WarpSize>(keys, layer, unitRows, 0);
        }

        UnitState state = weigh_unit(scores, unit, visible, scale, softCap);
        Merge merge[2] = {
            merge_unit(largest[0], weightSum[0], state.largest[0], state.sum[0]),
            merge_unit(largest[1], weightSum[1], state.largest[1], state.sum[1])};
        if (unit + Tokens < end) {
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncthreads();
#pragma unroll
        for (int step = 0; step < Steps; step++) {
            float first[4], second[4];
            sum_values<T, HeadStride>(first, second, scores, values, step);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                sums[2 * step][i] = merged(sums[2 * step][i], first[i], merge[i / 2]);
                sums[2 * step + 1][i] = merged(sums[2 * step + 1][i], second[i], merge[i / 2]);
            }
        }
        __syncthreads();
    }

#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int d = 0; d < 2 * Steps; d++) {
            int element = 8 * d + 2 * c;
            if (visible.end[i] > 0 && element < HeadStride) {
                *reinterpret_cast<unsigned*>(outputs + head_of(i) * HeadStride + element) = pack<T>(sums[d][2 * i] / weightSum[i], sums[d][2 * i + 1] / weightSum[i]);
            }
        }
    }
}

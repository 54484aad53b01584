// Attention of one token a sequence over its pages, split over the KV as in Flash-Decoding: a warp for each unit of positions and each key/value head, whose query heads are the rows of
// one product, so that KV is read once for all of them. What the units leave is merged by a second kernel.
#include "AttentionUnit.cuh"

constexpr int DecodeHeads = 16;

/// What the rows of a step have in the pool. A row attends to positions [max(0, lengths - window), lengths) of the sequence whose pages begin at pageBegins in
/// `pages`; a length of 0 is padding. Its units, from position 0 on, are those from unitBegins on in the step's list.
struct PagedRows {
    const int* lengths;
    const int* pageBegins;
    const int* unitBegins;
    const int* pages;
};

/// Unit `unit` of row `row`; row below 0: padding.
struct DecodeUnit { int row, unit; };

/// sums [units, heads, headStride] and extremes [units, heads, 2] (largest score, sum of weights) of each listed unit that has visible tokens; others are not written.
/// Grid: (units, kvHeads * ceil(Group / DecodeHeads)); block: a warp; shared memory: unit_shared_bytes. queries [rows, heads, headStride], zeros behind the head's elements. softCap 0: none.
template <typename T, typename KV, int HeadStride, int Group>
__global__ void __launch_bounds__(WarpSize) paged_decode(
    float* sums, float* extremes, const T* queries, LayerPages<KV> layer, const DecodeUnit* units, PagedRows rows, int window, float scale, float softCap) {
    constexpr int HeadTiles = (Group + DecodeHeads - 1) / DecodeHeads, Tokens = unit_tokens(HeadStride), Row = unit_row_elements(HeadStride);
    DecodeUnit own = units[blockIdx.x];
    if (own.row < 0) {
        return;
    }
    int kvHead = blockIdx.y / HeadTiles, firstHead = blockIdx.y % HeadTiles * DecodeHeads, heads = layer.kvHeads * Group;
    int length = rows.lengths[own.row], unit = own.unit * Tokens;
    int begin = max(max(0, length - window), unit), end = min(length, unit + Tokens);
    if (begin >= end) {
        return;
    }
    const int* pages = rows.pages + rows.pageBegins[own.row];
    T* keys = reinterpret_cast<T*>(shared_memory);
    T* values = keys + Tokens * Row;
    auto unitRows = find_unit<HeadStride>(layer, pages, unit, begin, end, kvHead);
    load_unit<T, WarpSize>(keys, layer, unitRows, 0);
    load_unit<T, WarpSize>(values, layer, unitRows, 1);

    int g = threadIdx.x % WarpSize / 4, c = threadIdx.x % 4;
    Visible visible;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        bool exists = firstHead + g + 8 * i < Group;
        visible.begin[i] = exists ? begin : 0;
        visible.end[i] = exists ? end : 0;
    }
    auto head_of = [&](int i) { return (size_t)(kvHead * Group + firstHead + g + 8 * i); };
    unsigned query[(HeadStride + 15) / 16][4];
    load_queries<T, HeadStride>(query, visible, [&](int i) { return queries + ((size_t)own.row * heads + head_of(i)) * HeadStride; });

    wait_for_copies<1>();
    __syncthreads();
    float scores[Tokens / 8][4];
    score_unit<T, HeadStride>(scores, query, keys);
    UnitState state = weigh_unit(scores, unit, visible, scale, softCap);
    wait_for_copies<0>();
    __syncthreads();
#pragma unroll
    for (int step = 0; step < (HeadStride + 15) / 16; step++) {
        float first[4], second[4];
        sum_values<T, HeadStride>(first, second, scores, values, step);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int element = 16 * step + 2 * c;
            float* to = sums + ((size_t)blockIdx.x * heads + head_of(i)) * HeadStride + element;
            if (visible.end[i] > 0 && element < HeadStride) {
                *reinterpret_cast<float2*>(to) = make_float2(first[2 * i], first[2 * i + 1]);
            }
            if (visible.end[i] > 0 && element + 8 < HeadStride) {
                *reinterpret_cast<float2*>(to + 8) = make_float2(second[2 * i], second[2 * i + 1]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        if (visible.end[i] > 0 && c == 0) {
            float* to = extremes + ((size_t)blockIdx.x * heads + head_of(i)) * 2;
            to[0] = state.largest[i];
            to[1] = state.sum[i];
        }
    }
}

/// outputs [rows, heads, headStride] of what paged_decode left. Grid: (rows, heads); block: any. Rows of padding become zeros.
template <typename T>
__global__ void combine_units(T* outputs, const float* sums, const float* extremes, PagedRows rows, int window, int headStride) {
    int row = blockIdx.x, head = blockIdx.y, heads = gridDim.y, length = rows.lengths[row], tokens = unit_tokens(headStride);
    int first = max(0, length - window) / tokens, last = (length + tokens - 1) / tokens;
    for (int i = threadIdx.x; i < headStride; i += blockDim.x) {
        float largest = -infinity(), sum = 0, value = 0;
        for (int unit = first; unit < last; unit++) {
            size_t at = (size_t)(rows.unitBegins[row] + unit) * heads + head;
            Merge merge = merge_unit(largest, sum, extremes[2 * at], extremes[2 * at + 1]);
            value = merged(value, sums[at * headStride + i], merge);
        }
        outputs[((size_t)row * heads + head) * headStride + i] = from_float<T>(length > 0 ? value / sum : 0.0f);
    }
}

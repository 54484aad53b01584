// Attention over pages, by decoding and by prefill, against its definition; and that a token's result does not depend on what is computed beside it.
#include "Check.h"
#include "PagedDecode.cu"
#include "PrefillAttention.cu"

#include <algorithm>

namespace {
struct Shape {
    int headDim, kvHeads, pageTokens, window;
    float softCap;
};

/// A pool of random KV and sequences whose pages lie in it in random order.
template <typename T, typename KV, int HeadStride, int Group> struct Scene {
    Shape shape;
    std::vector<int> lengths, pageBegins, pages;
    size_t pageElements;
    std::vector<KV> pool;
    std::vector<T> queries;  // [rows, heads, HeadStride]
    float scale;

    int heads() const { return shape.kvHeads * Group; }

    Scene(Random& random, Shape given, const std::vector<int>& sequenceLengths, int rows) : shape(given), lengths(sequenceLengths), scale(1 / std::sqrt(float(given.headDim))) {
        pageElements = size_t(2 * shape.kvHeads * shape.pageTokens * HeadStride) + 64;
        int count = 0;
        for (int length : lengths) {
            pageBegins.push_back(count);
            count += (length + shape.pageTokens - 1) / shape.pageTokens;
        }
        for (int page = 0; page < count; page++) {
            pages.push_back(page);
        }
        for (int i = count; i > 1; i--) {
            std::swap(pages[size_t(i) - 1], pages[size_t(random.below(i))]);
        }
        // Not a number wherever no token of a sequence is: nothing there may be read.
        pool.assign(size_t(count) * pageElements, from_float<KV>(NAN));
        for (size_t s = 0; s < lengths.size(); s++) {
            for (int t = 0; t < lengths[s]; t++) {
                for (int plane = 0; plane < 2 * shape.kvHeads; plane++) {
                    for (int d = 0; d < HeadStride; d++) {
                        pool[at(s, t, plane) + size_t(d)] = from_float<KV>(d < shape.headDim ? random.normal() : 0.0f);
                    }
                }
            }
        }
        for (int i = 0; i < rows * heads() * HeadStride; i++) {
            queries.push_back(from_float<T>(i % HeadStride < shape.headDim ? random.normal() * 2 : 0.0f));
        }
    }

    size_t at(size_t sequence, int token, int plane) const {
        return size_t(pages[size_t(pageBegins[sequence] + token / shape.pageTokens)]) * pageElements
            + size_t(plane * shape.pageTokens + token % shape.pageTokens) * HeadStride;
    }

    /// An element of the pool as it enters the products.
    double kv(size_t sequence, int token, int plane, int d) const { return to_float(from_float<T>(to_float(pool[at(sequence, token, plane) + size_t(d)]))); }

    /// [heads, HeadStride] of a row that sees the tokens before `end`.
    std::vector<double> oracle(int row, size_t sequence, int end) const {
        std::vector<double> result;
        for (int head = 0; head < heads(); head++) {
            const T* query = queries.data() + size_t(row * heads() + head) * HeadStride;
            int begin = std::max(0, end - shape.window);
            std::vector<double> scores, sums(size_t(shape.headDim), 0.0);
            double largest = -INFINITY, total = 0;
            for (int t = begin; t < end; t++) {
                double score = 0;
                for (int d = 0; d < shape.headDim; d++) {
                    score += double(to_float(query[d])) * kv(sequence, t, head / Group, d);
                }
                score *= scale;
                score = shape.softCap > 0 ? shape.softCap * std::tanh(score / shape.softCap) : score;
                scores.push_back(score);
                largest = std::max(largest, score);
            }
            for (int t = begin; t < end; t++) {
                double weight = std::exp(scores[size_t(t - begin)] - largest);
                total += weight;
                for (int d = 0; d < shape.headDim; d++) {
                    sums[size_t(d)] += weight * kv(sequence, t, shape.kvHeads + head / Group, d);
                }
            }
            for (double sum : sums) {
                result.push_back(sum / total);
            }
            result.insert(result.end(), size_t(HeadStride - shape.headDim), 0.0);
        }
        return result;
    }
};

/// A token at the end of the first `length` tokens of a sequence, whose queries are row `queryRow` of the scene. A length of 0 is padding.
struct Decoded { int sequence, length, queryRow; };

/// Decodes tokens and returns [chosen, heads, HeadStride].
template <typename T, typename KV, int HeadStride, int Group>
std::vector<T> decode(const Scene<T, KV, HeadStride, Group>& scene, const std::vector<Decoded>& chosen, int morePadding) {
    constexpr int Tokens = unit_tokens(HeadStride);
    int rows = int(chosen.size()), heads = scene.heads();
    std::vector<int> lengths, begins, unitBegins;
    std::vector<DecodeUnit> units;
    std::vector<T> queries;
    for (const auto& own : chosen) {
        lengths.push_back(own.length);
        begins.push_back(scene.pageBegins[size_t(own.sequence)]);
        unitBegins.push_back(int(units.size()));
        for (int unit = 0; unit * Tokens < own.length; unit++) {
            units.push_back({int(lengths.size()) - 1, unit});
        }
        auto from = scene.queries.begin() + long(own.queryRow) * heads * HeadStride;
        queries.insert(queries.end(), from, from + heads * HeadStride);
    }
    units.insert(units.end(), size_t(morePadding), {-1, 0});
    DeviceArray<KV> pool("pool", scene.pool);
    DeviceArray<T> queryArray("queries", queries), outputs("outputs", size_t(rows * heads * HeadStride));
    DeviceArray<int> lengthArray("lengths", lengths), beginArray("page begins", begins), unitBeginArray("unit begins", unitBegins), pages("pages", scene.pages);
    DeviceArray<DecodeUnit> unitArray("units", units);
    DeviceArray<float> sums("sums", units.size() * size_t(heads * HeadStride)), extremes("extremes", units.size() * size_t(heads * 2));
    LayerPages<KV> layer = {pool.get(), scene.pageElements, scene.shape.pageTokens, scene.shape.kvHeads};
    PagedRows paged = {lengthArray.get(), beginArray.get(), unitBeginArray.get(), pages.get()};
    dim3 grid = {unsigned(units.size()), unsigned(scene.shape.kvHeads * ((Group + DecodeHeads - 1) / DecodeHeads))};
    launch_in_all_orders("paged_decode", grid, {32}, unsigned(unit_shared_bytes(HeadStride)), sums, [&] {
        paged_decode<T, KV, HeadStride, Group>(
            sums.get(), extremes.get(), queryArray.get(), layer, unitArray.get(), paged, scene.shape.window, scene.scale, scene.shape.softCap);
    });
    launch_in_all_orders("combine_units", {unsigned(rows), unsigned(heads)}, {64}, 0, outputs, [&] {
        combine_units<T>(outputs.get(), sums.get(), extremes.get(), paged, scene.shape.window, HeadStride);
    });
    return outputs.copy();
}

/// A chunk [position, position + count) of a sequence, whose rows' queries begin at `queryRow` of the scene.
struct Chunk { int sequence, position, count, queryRow; };

template <typename T, typename KV, int HeadStride, int Group>
std::vector<T> prefill(const Scene<T, KV, HeadStride, Group>& scene, const std::vector<Chunk>& chunks) {
    int rows = 0, heads = scene.heads();
    std::vector<PrefillSlice> slices;
    std::vector<PrefillTile> tiles;
    std::vector<T> queries;
    for (const auto& chunk : chunks) {
        slices.push_back({rows, chunk.count, chunk.position, scene.pageBegins[size_t(chunk.sequence)]});
        for (int begin = 0; begin < chunk.count * Group; begin += PrefillRows) {
            tiles.push_back({int(slices.size()) - 1, begin});
        }
        auto from = scene.queries.begin() + long(chunk.queryRow) * heads * HeadStride;
        queries.insert(queries.end(), from, from + long(chunk.count) * heads * HeadStride);
        rows += chunk.count;
    }
    DeviceArray<KV> pool("pool", scene.pool);
    DeviceArray<T> queryArray("queries", queries), outputs("outputs", size_t(rows * heads * HeadStride));
    DeviceArray<PrefillSlice> sliceArray("slices", slices);
    DeviceArray<PrefillTile> tileArray("tiles", tiles);
    DeviceArray<int> pages("pages", scene.pages);
    LayerPages<KV> layer = {pool.get(), scene.pageElements, scene.shape.pageTokens, scene.shape.kvHeads};
    launch_in_all_orders(
        "prefill_attention", {unsigned(tiles.size()), unsigned(scene.shape.kvHeads)}, {PrefillWarps * 32}, unsigned(unit_shared_bytes(HeadStride)), outputs, [&] {
            prefill_attention<T, KV, HeadStride, Group>(
                outputs.get(), queryArray.get(), layer, sliceArray.get(), tileArray.get(), pages.get(), scene.shape.window, scene.scale, scene.shape.softCap);
        });
    return outputs.copy();
}

template <typename T> bool same_bits(const std::vector<T>& a, size_t aBegin, const std::vector<T>& b, size_t bBegin, size_t count) {
    return std::memcmp(a.data() + aBegin, b.data() + bBegin, count * sizeof(T)) == 0;
}

template <typename T, typename KV, int HeadStride, int Group> void check_decode(uint64_t seed, Shape shape) {
    Random random(seed);
    constexpr int Tokens = unit_tokens(HeadStride);
    std::vector<int> lengths = {1, random.between(2, 40), random.between(Tokens - 20, Tokens + 20), random.between(Tokens * 3, Tokens * 5)};
    Scene<T, KV, HeadStride, Group> scene(random, shape, lengths, int(lengths.size()));
    auto whole = [&](int sequence) { return Decoded{sequence, lengths[size_t(sequence)], sequence}; };
    auto results = decode(scene, {whole(0), whole(1), whole(2), whole(3)}, 0);
    std::vector<double> expected;
    for (size_t s = 0; s < lengths.size(); s++) {
        auto row = scene.oracle(int(s), s, lengths[s]);
        expected.insert(expected.end(), row.begin(), row.end());
    }
    check_close("decode", numbers_of(results), expected, 2 * rounding<T>());

    // Alone, among others in another order, beside padding, in a grid made for longer contexts.
    size_t width = size_t(scene.heads() * HeadStride);
    auto alone = decode(scene, {whole(2)}, 0), mixed = decode(scene, {{0, 0, 0}, whole(3), whole(2), {0, 0, 0}, whole(0)}, 3);
    check(same_bits(alone, 0, results, 2 * width, width) && same_bits(mixed, 2 * width, results, 2 * width, width) && same_bits(mixed, width, results, 3 * width, width),
        "a token's attention depends on the batch");
    for (size_t i = 0; i < width; i++) {
        check(to_float(mixed[i]) == 0, "padding is zero");
    }
}

template <typename T, typename KV, int HeadStride, int Group> void check_prefill(uint64_t seed, Shape shape) {
    Random random(seed);
    int length = random.between(70, 130), other = random.between(1, 30), before = random.between(1, length - 2);
    Scene<T, KV, HeadStride, Group> scene(random, shape, {length, other}, length + 1);
    auto whole = prefill(scene, {{0, 0, length, 0}});
    std::vector<double> expected;
    for (int t = 0; t < length; t++) {
        auto row = scene.oracle(t, 0, t + 1);
        expected.insert(expected.end(), row.begin(), row.end());
    }
    check_close("prefill", numbers_of(whole), expected, 2 * rounding<T>());

    // Cut in two, and beside another sequence.
    size_t width = size_t(scene.heads() * HeadStride);
    auto first = prefill(scene, {{1, 0, other, 0}, {0, 0, before, 0}}), rest = prefill(scene, {{0, before, length - before, before}, {1, other - 1, 1, length}});
    check(same_bits(first, size_t(other) * width, whole, 0, size_t(before) * width) && same_bits(rest, 0, whole, size_t(before) * width, size_t(length - before) * width),
        "a token's attention depends on how its prompt was cut");
    auto last = scene.oracle(length, 1, other);
    // Decoded one by one.
    for (int t : {0, before, length - 1}) {
        auto decoded = decode(scene, {{0, t + 1, t}}, 0);
        check(same_bits(decoded, 0, whole, size_t(t) * width, width), "a token's attention depends on whether it is decoded or part of a prompt");
    }
    check_close("a chunk of one token", numbers_of(std::vector<T>(rest.end() - long(width), rest.end())), last, 2 * rounding<T>());
}

constexpr int All = 0x7fffffff;
}

CASE("decode: grouped heads over pages") {
    check_decode<bf16, bf16, 128, 4>(1, {128, 2, 16, All, 0});
    check_decode<f16, f16, 64, 8>(2, {64, 1, 32, All, 0});
    check_decode<bf16, bf16, 64, 1>(3, {64, 3, 5, All, 0});
}

CASE("decode: windows, caps, padded heads, many heads of a group") {
    check_decode<bf16, bf16, 256, 2>(4, {256, 1, 16, 100, 50});
    check_decode<f16, f16, 24, 3>(5, {20, 2, 7, 37, 0});
    check_decode<bf16, bf16, 80, 12>(6, {80, 1, 16, All, 20});
}

CASE("decode: KV is stored in another type than it is computed in") {
    check_decode<bf16, float, 64, 2>(7, {64, 2, 16, All, 0});
    check_decode<bf16, f16, 32, 4>(8, {32, 1, 16, 50, 0});
}

CASE("prefill: grouped heads over pages") {
    check_prefill<bf16, bf16, 128, 4>(1, {128, 1, 16, All, 0});
    check_prefill<f16, f16, 64, 1>(2, {64, 2, 32, All, 0});
}

CASE("prefill: windows, caps, padded heads, wide heads") {
    check_prefill<bf16, bf16, 256, 2>(3, {256, 1, 16, 40, 50});
    check_prefill<f16, f16, 24, 3>(4, {20, 2, 7, 33, 0});
    check_prefill<bf16, bf16, 80, 5>(5, {80, 1, 16, 64, 20});
}

CASE("prefill: KV is stored in another type than it is computed in") {
    check_prefill<bf16, float, 64, 2>(6, {64, 1, 16, All, 0});
    check_prefill<bf16, f16, 40, 2>(7, {36, 1, 3, 20, 0});
}

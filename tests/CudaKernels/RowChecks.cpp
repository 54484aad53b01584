// The kernels that go over rows one by one: embedding, norms, activations, rotation and the way into the pages.
#include "Check.h"
#include "Activate.cu"
#include "Embed.cu"
#include "Logits.cu"
#include "RmsNorm.cu"
#include "Rope.cu"

#include <algorithm>

namespace {
constexpr unsigned NormShared = 2 * MaxWarps * sizeof(float);

std::vector<double> normed(const double* x, int count, const std::vector<float>& weight, double epsilon) {
    double squares = 0;
    for (int i = 0; i < count; i++) {
        squares += x[i] * x[i];
    }
    double scale = 1 / std::sqrt(squares / count + epsilon);
    std::vector<double> result;
    for (int i = 0; i < count; i++) {
        result.push_back(x[i] * scale * weight[size_t(i)]);
    }
    return result;
}

template <typename T, typename Delta> void check_norm(uint64_t seed, bool withDelta, bool withPostNorm, bool picked) {
    Random random(seed);
    int rows = random.between(1, 5), hidden = random.between(1, 300), stride = (hidden + 7) / 8 * 8;
    const float epsilon = 1e-5f;
    auto x = random_values<float>(random, size_t(rows * hidden));
    auto y = random_values<Delta>(random, size_t(rows * hidden));
    auto norm = random_values<float>(random, size_t(hidden)), post = random_values<float>(random, size_t(hidden));
    std::vector<int> pick;
    for (int row = rows - 1; row >= 0; row -= 2) {
        pick.push_back(row);
    }
    int outputRows = picked ? int(pick.size()) : rows;
    DeviceArray<float> residual("residual", x), norms("norm", norm), posts("post norm", post);
    DeviceArray<Delta> delta("delta", y);
    DeviceArray<int> map("rows", pick);
    DeviceArray<T> outputs("outputs", size_t(outputRows * stride));
    launch_in_all_orders("add_rms_norm", {unsigned(outputRows)}, {128}, NormShared, outputs, [&] {
        add_rms_norm<T, Delta>(
            residual.get(), withDelta ? delta.get() : nullptr, withPostNorm ? posts.get() : nullptr, norms.get(), outputs.get(), picked ? map.get() : nullptr, hidden, stride, epsilon);
    }, [&] { std::copy(x.begin(), x.end(), residual.get()); });

    std::vector<double> expected, expectedResidual = numbers_of(x);
    for (int i = 0; i < outputRows; i++) {
        int row = picked ? pick[size_t(i)] : i;
        double* own = &expectedResidual[size_t(row * hidden)];
        auto added = numbers_of(std::vector<Delta>(y.begin() + row * hidden, y.begin() + (row + 1) * hidden));
        if (withPostNorm) {
            added = normed(added.data(), hidden, post, epsilon);
        }
        for (int j = 0; withDelta && j < hidden; j++) {
            own[j] += added[size_t(j)];
        }
        auto output = normed(own, hidden, norm, epsilon);
        expected.insert(expected.end(), output.begin(), output.end());
        expected.insert(expected.end(), size_t(stride - hidden), 0.0);
    }
    check_close("residual", residual.numbers(), expectedResidual, 1e-5);
    check_close("outputs", outputs.numbers(), expected, rounding<T>() + 1e-5);
}

template <typename T, typename KV> void check_rope(uint64_t seed, int headDim, int pairs, bool headNorms) {
    Random random(seed);
    int heads = 2 * random.between(1, 3), kvHeads = random.between(1, 2), rows = random.between(1, 4), pageTokens = random.between(1, 20), pages = 7;
    int stride = (headDim + 7) / 8 * 8;
    const double magnitude = 1.25;
    const float epsilon = 1e-6f;
    size_t pageElements = size_t(2 * kvHeads * pageTokens * stride) + 32;  // pages may lie apart
    std::vector<double> frequencies;
    for (int i = 0; i < 2 * pairs; i++) {
        frequencies.push_back(std::pow(10000.0, -double(i % pairs) / pairs) / (i < pairs ? 1 : 4));
    }
    std::vector<int> positions, longContexts, slots;
    for (int row = 0; row < rows; row++) {
        positions.push_back(random.below(100000));
        longContexts.push_back(random.below(2));
        slots.push_back((row * 2 + random.below(2)) % pages * pageTokens + random.below(pageTokens));
    }
    slots[size_t(rows) - 1] = rows > 1 ? -1 : slots[0];
    int width = (heads + 2 * kvHeads) * headDim;
    auto x = random_values<T>(random, size_t(rows * width));
    auto queryWeights = random_values<float>(random, size_t(headDim)), keyWeights = random_values<float>(random, size_t(headDim));
    std::vector<KV> before(size_t(pages) * pageElements, from_float<KV>(3.0f));
    DeviceArray<double> frequencyArray("frequencies", frequencies);
    DeviceArray<int> positionArray("positions", positions), longArray("long contexts", longContexts), slotArray("slots", slots);
    DeviceArray<float2> angles("angles", size_t(rows * pairs));
    DeviceArray<T> qkv("qkv", x), queries("queries", size_t(rows * heads * stride));
    DeviceArray<KV> pool("pages", before);
    DeviceArray<float> queryNorm("query norm", queryWeights), keyNorm("key norm", keyWeights);
    launch_in_all_orders("rope_angles", {unsigned(rows), unsigned(pairs + 31) / 32}, {32}, 0, angles, [&] {
        rope_angles(angles.get(), frequencyArray.get(), positionArray.get(), longArray.get(), magnitude, pairs);
    });
    launch_in_all_orders("rope_kv", {unsigned(rows)}, {64}, 0, queries, [&] {
        rope_kv<T, KV>(
            qkv.get(), queries.get(), pool.get(), slotArray.get(), angles.get(), headNorms ? queryNorm.get() : nullptr, headNorms ? keyNorm.get() : nullptr,
            heads, kvHeads, headDim, stride, pairs, pageTokens, pageElements, epsilon);
    });

    std::vector<double> expectedQueries, expectedPool = numbers_of(before);
    for (int row = 0; row < rows; row++) {
        for (int head = 0; head < heads + 2 * kvHeads; head++) {
            bool isQuery = head < heads, isValue = head >= heads + kvHeads;
            auto own = numbers_of(std::vector<T>(x.begin() + row * width + head * headDim, x.begin() + row * width + (head + 1) * headDim));
            if (headNorms && !isValue) {
                own = normed(own.data(), headDim, isQuery ? queryWeights : keyWeights, epsilon);
            }
            for (int i = 0; !isValue && i < pairs; i++) {
                double angle = positions[size_t(row)] * frequencies[size_t(longContexts[size_t(row)] * pairs + i)];
                double low = own[size_t(i)], high = own[size_t(pairs + i)];
                own[size_t(i)] = magnitude * (low * std::cos(angle) - high * std::sin(angle));
                own[size_t(pairs + i)] = magnitude * (high * std::cos(angle) + low * std::sin(angle));
            }
            own.resize(size_t(stride), 0.0);
            if (isQuery) {
                expectedQueries.insert(expectedQueries.end(), own.begin(), own.end());
            } else if (slots[size_t(row)] >= 0) {
                int slot = slots[size_t(row)], kvHead = (head - heads) % kvHeads;
                size_t at = size_t(slot / pageTokens) * pageElements + size_t(((isValue ? kvHeads : 0) + kvHead) * pageTokens + slot % pageTokens) * size_t(stride);
                std::copy(own.begin(), own.end(), expectedPool.begin() + long(at));
            }
        }
    }
    check_close("queries", queries.numbers(), expectedQueries, rounding<T>() + 1e-5);
    check_close("pages", pool.numbers(), expectedPool, rounding<KV>() + 1e-5);
}

template <typename T, typename Activation> void check_activation(uint64_t seed, double (*oracle)(double)) {
    Random random(seed);
    int rows = random.between(1, 4), width = random.between(1, 100);
    auto x = random_values<T>(random, size_t(rows * 2 * width), 3);
    // The row of padding is not read.
    for (int i = 0; i < 2 * width; i++) {
        x.push_back(from_float<T>(NAN));
    }
    std::vector<int> chosen(size_t(rows), 3);
    chosen.push_back(-1);
    DeviceArray<T> gateUp("gate and up", x), outputs("outputs", size_t((rows + 1) * width));
    DeviceArray<int> experts("experts", chosen);
    bool skips = seed % 2 == 0;
    launch_in_all_orders("activate_multiply", {unsigned(skips ? rows + 1 : rows), unsigned(width + 31) / 32}, {32}, 0, outputs, [&] {
        activate_multiply<T, Activation>(gateUp.get(), outputs.get(), skips ? experts.get() : nullptr, width);
    });
    std::vector<double> expected;
    for (int i = 0; i < rows * width; i++) {
        const T* row = x.data() + i / width * 2 * width;
        expected.push_back(oracle(to_float(row[i % width])) * to_float(row[width + i % width]));
    }
    auto numbers = outputs.numbers();
    numbers.resize(expected.size());
    check_close("outputs", numbers, expected, rounding<T>() + 1e-5);
}
}

CASE("rows: embeddings are the table's rows, scaled") {
    Random random(1);
    auto table = random_values<bf16>(random, 50 * 72);
    DeviceArray<bf16> tableArray("table", table);
    DeviceArray<int> tokens("tokens", std::vector<int>{49, -1, 7, -3});
    DeviceArray<int> chosen("chosen", std::vector<int>{0, 11, 7});
    std::vector<int> expected = {49, 0, 7, 7};
    DeviceArray<float> residual("residual", 4 * 70);
    launch_in_all_orders("embed", {4, 3}, {32}, 0, residual, [&] {
        embed<bf16>(residual.get(), Matrix<bf16>{tableArray.get(), nullptr}, tokens.get(), chosen.get(), 2.5f, 70, 72);
    });
    for (int i = 0; i < 4 * 70; i++) {
        check(residual[size_t(i)] == to_float(table[size_t(expected[size_t(i / 70)] * 72 + i % 70)]) * 2.5f, "element " + std::to_string(i));
    }
}

CASE("rows: the residual takes up the delta and is normed") {
    for (uint64_t seed = 0; seed < 8; seed++) {
        bool delta = seed % 2 == 0, post = delta && seed % 4 == 0, picked = seed >= 5;
        check_norm<bf16, float>(seed, delta, post, picked);
        check_norm<f16, bf16>(seed + 100, delta, post, picked);
        check_norm<float, float>(seed + 200, delta, post, picked);
    }
}

CASE("rows: gates are SiLU or the tanh form of GELU") {
    auto silu = [](double x) { return x / (1 + std::exp(-x)); };
    auto gelu = [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); };
    check_activation<bf16, Silu>(1, silu);
    check_activation<f16, Silu>(2, silu);
    check_activation<bf16, GeluTanh>(3, gelu);
    check_activation<float, GeluTanh>(4, gelu);
}

CASE("rows: logits are capped") {
    Random random(5);
    auto x = random_values<float>(random, 300, 40);
    DeviceArray<float> logits("logits", x);
    launch_in_all_orders("soft_cap", {5}, {64}, 0, logits, [&] { soft_cap(logits.get(), 30, 300); }, [&] { std::copy(x.begin(), x.end(), logits.get()); });
    for (size_t i = 0; i < x.size(); i++) {
        x[i] = float(30 * std::tanh(double(x[i]) / 30));
    }
    check_close("logits", logits.numbers(), numbers_of(x), 1e-5);
}

CASE("rows: heads are rotated into queries and pages") {
    check_rope<bf16, bf16>(1, 64, 32, false);
    check_rope<bf16, bf16>(2, 128, 64, true);
    check_rope<f16, f16>(3, 20, 10, true);    // padded to 24
    check_rope<bf16, float>(4, 96, 24, false); // rotated in part
    check_rope<bf16, f16>(5, 34, 8, true);
    check_rope<float, float>(6, 16, 8, false);
}

CASE("rows: a part of the vocabulary comes to its place among zeros") {
    Random random(7);
    auto part = random_values<float>(random, 3 * 20);
    DeviceArray<float> partArray("part", part), logits("logits", 3 * 90);
    launch_in_all_orders("place_columns", {3, 2}, {64}, 0, logits, [&] { place_columns(logits.get(), partArray.get(), 30, 20, 90); });
    for (int i = 0; i < 3 * 90; i++) {
        int column = i % 90 - 30;
        check(logits[size_t(i)] == (column >= 0 && column < 20 ? part[size_t(i / 90 * 20 + column)] : 0), "element " + std::to_string(i));
    }
}

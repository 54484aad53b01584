// Feed-forwards of experts: who goes where, products over the slots of each expert, and their sum.
#include "Check.h"
#include "Experts.cu"
#include "SkinnyGemm.cu"
#include "WideGemm.cu"

#include <algorithm>
#include <set>

namespace {
/// The choices of rows by the definition: [rows, chosen], by ascending number; -1 for padding.
struct Choices { std::vector<int> experts; std::vector<double> weights; };

Choices choose(const std::vector<float>& logits, const std::vector<int>& kvSlots, int experts, int parts, int chosen, bool renormalized) {
    Choices result;
    for (size_t row = 0; row < kvSlots.size(); row++) {
        std::vector<double> own(size_t(experts), 0.0);
        for (int i = 0; i < experts * parts; i++) {
            own[size_t(i % experts)] += logits[row * size_t(experts * parts) + size_t(i)];
        }
        std::vector<int> order;
        for (int i = 0; i < experts; i++) {
            order.push_back(i);
        }
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return own[size_t(a)] > own[size_t(b)]; });
        order.resize(size_t(chosen));
        std::sort(order.begin(), order.end());
        double all = 0, some = 0;
        for (int i = 0; i < experts; i++) {
            all += std::exp(own[size_t(i)]);
        }
        for (int expert : order) {
            some += std::exp(own[size_t(expert)]);
        }
        for (int expert : order) {
            bool padding = kvSlots[row] < 0;
            result.experts.push_back(padding ? -1 : expert);
            result.weights.push_back(padding ? 0 : std::exp(own[size_t(expert)]) / (renormalized ? some : all));
        }
    }
    return result;
}

void check_route(uint64_t seed, int experts, int parts, int chosen, bool renormalized) {
    Random random(seed);
    int rows = random.between(1, 6);
    std::vector<int> kvSlots;
    std::vector<float> logits;
    for (int row = 0; row < rows; row++) {
        kvSlots.push_back(row == 2 ? -1 : row);
        // Whole numbers: some are equal.
        for (int i = 0; i < experts * parts; i++) {
            logits.push_back(float(random.between(-3, 3)));
        }
    }
    DeviceArray<float> logitArray("logits", logits), weights("weights", size_t(rows * chosen));
    DeviceArray<int> kvSlotArray("KV slots", kvSlots), chosenArray("experts", size_t(rows * chosen));
    launch_in_all_orders("route_experts", {unsigned(rows)}, {32}, unsigned(route_shared_bytes(chosen)), chosenArray, [&] {
        route_experts(chosenArray.get(), weights.get(), logitArray.get(), kvSlotArray.get(), experts, parts, chosen, renormalized);
    });
    auto expected = choose(logits, kvSlots, experts, parts, chosen, renormalized);
    check(chosenArray.copy() == expected.experts, "other experts than the first of the largest logits");
    check_close("weights", weights.numbers(), expected.weights, 1e-5);
}

/// Slots of random experts, sorted; and that the tiles have each of them once.
struct Sorted {
    std::vector<int> chosen;
    int tileCount;
    DeviceArray<ExpertTile> tiles;
    DeviceArray<int> slots;

    Sorted(Random& random, int slotCount, int experts, int tileSlots, int padding)
        : tileCount(std::min(slotCount, (slotCount + std::min(experts, slotCount) * (tileSlots - 1)) / tileSlots)), tiles("tiles", size_t(tileCount)), slots("slots", size_t(slotCount)) {
        for (int slot = 0; slot < slotCount; slot++) {
            chosen.push_back(slot < padding ? -1 : random.below(experts));
        }
        DeviceArray<int> chosenArray("chosen", chosen);
        for (auto order : {emulation::Order::Shuffled, emulation::Order::Ascending}) {
            auto faults = emulation::launch("sort_slots", {}, {64}, unsigned(sort_shared_bytes(experts)), order, [&] {
                sort_slots(tiles.get(), slots.get(), chosenArray.get(), slotCount, experts, tileCount, tileSlots);
            });
            check(faults.empty(), faults);
            std::multiset<int> seen, expected;
            for (int t = 0; t < tileCount; t++) {
                ExpertTile tile = tiles[size_t(t)];
                check(tile.expert < experts && tile.count <= tileSlots && (tile.expert >= 0) == (tile.count > 0), "a tile's size");
                for (int i = 0; i < tile.count; i++) {
                    int slot = slots[size_t(tile.first + i)];
                    seen.insert(slot);
                    check(chosen[size_t(slot)] == tile.expert, "a slot is in the tile of another expert");
                }
            }
            for (int slot = padding; slot < slotCount; slot++) {
                expected.insert(slot);
            }
            check(seen == expected, "the tiles have not each slot once");
        }
    }
};

template <typename T, typename W> void check_products(uint64_t seed, int rows, int chosenCount, int experts, int inputCount, int outputCount, bool ofSlots) {
    Random random(seed);
    int slots = rows * chosenCount, padding = chosenCount, groups = (inputCount + ScaleInputs - 1) / ScaleInputs;
    auto inputs = random_values<T>(random, size_t((ofSlots ? slots : rows) * inputCount));
    std::vector<W> weights;
    for (int i = 0; i < experts * outputCount * inputCount; i++) {
        if constexpr (Same<T, W>::value) {
            weights.push_back(from_float<T>(random.normal()));
        } else {
            weights.push_back({(unsigned char)random.between(1, 255)});
        }
    }
    auto scales = random_values<bf16>(random, size_t(experts * outputCount * groups), 0.01f);
    DeviceArray<T> inputArray("inputs", inputs);
    DeviceArray<W> weightArray("weights", weights);
    DeviceArray<bf16> scaleArray("scales", scales);
    int each = ofSlots ? 1 : chosenCount;
    // Each slot for itself, by the product of one row.
    std::vector<float> expected(size_t(slots * outputCount), 0.0f);
    auto run = [&](int tileSlots) {
        Sorted sorted(random, slots, experts, tileSlots, padding);
        DeviceArray<float> outputs("outputs", std::vector<float>(expected.size(), 0.0f));
        Matrix<W> matrix = {weightArray.get(), Same<T, W>::value ? nullptr : scaleArray.get()};
        unsigned tiles = unsigned(sorted.tileCount);
        if (tileSlots == 8) {
            launch_in_all_orders("skinny_experts", {tiles, unsigned(outputCount + 15) / 16}, {SkinnyWarps * 32}, unsigned(skinny_shared_bytes(1)), outputs, [&] {
                skinny_experts<T, W, float>(outputs.get(), inputArray.get(), matrix, sorted.tiles.get(), sorted.slots.get(), each, inputCount, outputCount);
            });
        } else {
            launch_in_all_orders("wide_experts", {tiles, unsigned(outputCount + 127) / 128}, {WideWarps * 32}, unsigned(wide_shared_bytes(64)), outputs, [&] {
                wide_experts<T, W, float, 64>(outputs.get(), inputArray.get(), matrix, sorted.tiles.get(), sorted.slots.get(), each, inputCount, outputCount);
            });
        }
        for (int slot = padding; slot < slots; slot++) {
            DeviceArray<float> own("own", size_t(outputCount));
            const T* input = inputArray.get() + slot / each * inputCount;
            auto ownMatrix = expert_matrix(matrix, sorted.chosen[size_t(slot)], inputCount, outputCount);
            auto faults = emulation::launch("skinny_gemm", {unsigned(outputCount + 15) / 16}, {SkinnyWarps * 32}, unsigned(skinny_shared_bytes(1)), emulation::Order::Ascending, [&] {
                skinny_gemm<T, W, float, 1>(own.get(), input, ownMatrix, nullptr, 1, inputCount, outputCount);
            });
            check(faults.empty(), faults);
            check(std::memcmp(own.get(), outputs.get() + slot * outputCount, size_t(outputCount) * sizeof(float)) == 0, "a slot's product depends on those beside it");
        }
        for (int i = 0; i < padding * outputCount; i++) {
            check(outputs[size_t(i)] == 0, "padding is written");
        }
    };
    run(8);
    run(64);
}
}

CASE("experts: rows go to the first of the largest logits") {
    check_route(1, 9, 1, 3, true);
    check_route(2, 128, 1, 8, false);
    check_route(3, 70, 2, 5, true);
    check_route(4, 2, 1, 2, false);
}

CASE("experts: products over the slots of each expert are those of each row") {
    check_products<bf16, bf16>(1, 11, 2, 3, 40, 24, false);
    check_products<bf16, bf16>(2, 5, 3, 4, 72, 130, true);
    check_products<bf16, int8_code>(3, 7, 2, 5, 64, 20, false);
}

CASE("experts: what experts made of a row is summed by their weights") {
    Random random(5);
    int rows = 4, chosen = 3, hidden = 70;
    std::vector<int> experts;
    auto made = random_values<float>(random, size_t(rows * chosen * hidden)), weights = random_values<float>(random, size_t(rows * chosen));
    for (int i = 0; i < rows * chosen; i++) {
        experts.push_back(i / chosen == 1 ? -1 : i % chosen);
        // Nobody has made anything of padding.
        for (int j = 0; j < hidden && i / chosen == 1; j++) {
            made[size_t(i * hidden + j)] = NAN;
        }
    }
    DeviceArray<float> madeArray("made", made), weightArray("weights", weights), outputs("outputs", size_t(rows * hidden));
    DeviceArray<int> expertArray("experts", experts);
    launch_in_all_orders("mix_experts", {unsigned(rows), 2}, {64}, 0, outputs, [&] {
        mix_experts(outputs.get(), madeArray.get(), expertArray.get(), weightArray.get(), chosen, hidden);
    });
    std::vector<double> expected;
    for (int i = 0; i < rows * hidden; i++) {
        double sum = 0;
        for (int choice = 0; choice < chosen && i / hidden != 1; choice++) {
            int slot = i / hidden * chosen + choice;
            sum += double(weights[size_t(slot)]) * made[size_t(slot * hidden + i % hidden)];
        }
        expected.push_back(sum);
    }
    check_close("outputs", outputs.numbers(), expected, 1e-5);
}

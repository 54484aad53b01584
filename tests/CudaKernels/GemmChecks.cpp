// Products with a weight matrix, of few rows and of many.
#include "Check.h"
#include "SkinnyGemm.cu"
#include "WideGemm.cu"

namespace {
template <typename T, typename Out, int ColumnTiles>
std::vector<Out> multiply(const std::vector<T>& inputs, const std::vector<T>& weights, const std::vector<T>& bias, int rows, int inputCount, int outputCount) {
    DeviceArray<T> inputArray("inputs", inputs), weightArray("weights", weights), biasArray("bias", bias);
    DeviceArray<Out> outputs("outputs", size_t(rows * outputCount));
    dim3 grid = {unsigned(outputCount + SkinnyOutputs - 1) / SkinnyOutputs, unsigned(rows + 8 * ColumnTiles - 1) / (8 * ColumnTiles)};
    launch_in_all_orders("skinny_gemm", grid, {SkinnyWarps * 32}, unsigned(skinny_shared_bytes(ColumnTiles)), outputs, [&] {
        skinny_gemm<T, Out, ColumnTiles>(outputs.get(), inputArray.get(), weightArray.get(), bias.empty() ? nullptr : biasArray.get(), rows, inputCount, outputCount);
    });
    return outputs.copy();
}

/// The same by the kernel for many rows, whole or by way of chains.
template <typename T, typename Out, int TileRows, bool Split>
std::vector<Out> multiply_wide(const std::vector<T>& inputs, const std::vector<T>& weights, const std::vector<T>& bias, int rows, int inputCount, int outputCount) {
    DeviceArray<T> inputArray("inputs", inputs), weightArray("weights", weights), biasArray("bias", bias);
    DeviceArray<Out> outputs("outputs", size_t(rows * outputCount));
    unsigned blocks = unsigned((outputCount + WideOutputs - 1) / WideOutputs * ((rows + TileRows - 1) / TileRows));
    const T* ownBias = bias.empty() ? nullptr : biasArray.get();
    if constexpr (Split) {
        DeviceArray<float> chains("chains", size_t(GemmChains * rows * outputCount));
        launch_in_all_orders("wide_gemm", {blocks, GemmChains}, {WideWarps * 32}, unsigned(wide_shared_bytes(TileRows)), chains, [&] {
            wide_gemm<T, float, TileRows, true>(chains.get(), inputArray.get(), weightArray.get(), nullptr, rows, inputCount, outputCount);
        });
        launch_in_all_orders("add_chains", {unsigned(outputCount + 63) / 64, unsigned(rows)}, {64}, 0, outputs, [&] {
            add_chains<T, Out>(outputs.get(), chains.get(), ownBias, rows, outputCount);
        });
    } else {
        launch_in_all_orders("wide_gemm", {blocks}, {WideWarps * 32}, unsigned(wide_shared_bytes(TileRows)), outputs, [&] {
            wide_gemm<T, Out, TileRows, false>(outputs.get(), inputArray.get(), weightArray.get(), ownBias, rows, inputCount, outputCount);
        });
    }
    return outputs.copy();
}

template <typename T, typename Out> void check_product(uint64_t seed, int rows, int inputCount, int outputCount, bool withBias) {
    Random random(seed);
    auto inputs = random_values<T>(random, size_t(rows * inputCount)), weights = random_values<T>(random, size_t(outputCount * inputCount));
    auto bias = withBias ? random_values<T>(random, size_t(outputCount)) : std::vector<T>();
    std::vector<double> expected;
    for (int i = 0; i < rows * outputCount; i++) {
        double sum = withBias ? to_float(bias[size_t(i % outputCount)]) : 0;
        for (int k = 0; k < inputCount; k++) {
            sum += double(to_float(inputs[size_t(i / outputCount * inputCount + k)])) * to_float(weights[size_t(i % outputCount * inputCount + k)]);
        }
        expected.push_back(sum);
    }
    auto one = multiply<T, Out, 1>(inputs, weights, bias, rows, inputCount, outputCount);
    check_close("product", numbers_of(one), expected, rounding<Out>() + 1e-5);

    auto two = multiply<T, Out, 2>(inputs, weights, bias, rows, inputCount, outputCount);
    check(std::memcmp(one.data(), two.data(), one.size() * sizeof(Out)) == 0, "a row's product depends on how many rows a block takes");
    auto same = [&](const std::vector<Out>& other) { return std::memcmp(one.data(), other.data(), one.size() * sizeof(Out)) == 0; };
    check(same(multiply_wide<T, Out, 64, false>(inputs, weights, bias, rows, inputCount, outputCount)), "64 rows a block give other bits than 8");
    check(same(multiply_wide<T, Out, 128, true>(inputs, weights, bias, rows, inputCount, outputCount)), "chains of their own give other bits");
    if (rows > 64) {
        check(same(multiply_wide<T, Out, 128, false>(inputs, weights, bias, rows, inputCount, outputCount)), "128 rows a block give other bits than 8");
        check(same(multiply_wide<T, Out, 64, true>(inputs, weights, bias, rows, inputCount, outputCount)), "chains of 64 rows give other bits");
    }
    std::vector<T> lastInputs(inputs.end() - inputCount, inputs.end());
    auto last = multiply<T, Out, 1>(lastInputs, weights, bias, 1, inputCount, outputCount);
    check(std::memcmp(last.data(), one.data() + size_t(rows - 1) * outputCount, last.size() * sizeof(Out)) == 0, "a row's product depends on the rows beside it");
}
}

CASE("gemm: a few rows times a weight matrix") {
    check_product<bf16, bf16>(1, 1, 512, 64, false);
    check_product<bf16, float>(2, 3, 1032, 40, true);
    check_product<f16, f16>(3, 11, 264, 33, true);
    check_product<f16, float>(4, 17, 8, 7, false);
}

CASE("gemm: many rows times a weight matrix") {
    check_product<bf16, bf16>(5, 70, 328, 140, true);
    check_product<f16, float>(6, 131, 40, 9, false);
}

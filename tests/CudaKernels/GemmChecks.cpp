// Products of few rows with a weight matrix.
#include "Check.h"
#include "SkinnyGemm.cu"

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

// Products with a weight matrix, of few rows and of many.
#include "Check.h"
#include "HopperGemm.cu"
#include "SkinnyGemm.cu"
#include "WideGemm.cu"

namespace {
template <typename T, typename Out, int ColumnTiles>
std::vector<Out> multiply(const std::vector<T>& inputs, const std::vector<T>& weights, const std::vector<T>& bias, int rows, int inputCount, int outputCount) {
    DeviceArray<T> inputArray("inputs", inputs), weightArray("weights", weights), biasArray("bias", bias);
    DeviceArray<Out> outputs("outputs", size_t(rows * outputCount));
    dim3 grid = {unsigned(outputCount + SkinnyOutputs - 1) / SkinnyOutputs, unsigned(rows + 8 * ColumnTiles - 1) / (8 * ColumnTiles)};
    launch_in_all_orders("skinny_gemm", grid, {SkinnyWarps * 32}, unsigned(skinny_shared_bytes(ColumnTiles)), outputs, [&] {
        skinny_gemm<T, T, Out, ColumnTiles>(outputs.get(), inputArray.get(), {weightArray.get(), nullptr}, bias.empty() ? nullptr : biasArray.get(), rows, inputCount, outputCount);
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
            wide_gemm<T, T, float, TileRows, true>(chains.get(), inputArray.get(), {weightArray.get(), nullptr}, nullptr, rows, inputCount, outputCount);
        });
        launch_in_all_orders("add_chains", {unsigned(rows), unsigned(outputCount + 63) / 64}, {64}, 0, outputs, [&] {
            add_chains<T, Out>(outputs.get(), chains.get(), ownBias, rows, outputCount);
        });
    } else {
        launch_in_all_orders("wide_gemm", {blocks}, {WideWarps * 32}, unsigned(wide_shared_bytes(TileRows)), outputs, [&] {
            wide_gemm<T, T, Out, TileRows, false>(outputs.get(), inputArray.get(), {weightArray.get(), nullptr}, ownBias, rows, inputCount, outputCount);
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

namespace {
/// A weight's number by the definition of its code.
double number_of(int8_code code) { return int(code.bits) - 128; }
double number_of(e4m3_code code) {
    int exponent = code.bits >> 3 & 15, fraction = code.bits & 7;
    double size = exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
    return code.bits & 0x80 ? -size : size;
}

template <typename W> W random_code(Random& random) {
    W code = {(unsigned char)random.below(256)};
    // 128 less than nothing is no int8 here, nor are e4m3's two codes for no number.
    bool none = Same<W, int8_code>::value ? code.bits == 0 : (code.bits & 0x7f) == 0x7f;
    return none ? W{1} : code;
}

/// Weights in codes give the bits that the numbers give which they stand for, rounded to the compute type.
template <typename T, typename W> void check_codes(uint64_t seed, int rows, int inputCount, int outputCount) {
    Random random(seed);
    int groups = (inputCount + ScaleInputs - 1) / ScaleInputs;
    auto inputs = random_values<T>(random, size_t(rows * inputCount));
    auto scales = random_values<bf16>(random, size_t(outputCount * groups), 0.01f);
    std::vector<W> codes;
    std::vector<T> weights;
    for (int i = 0; i < outputCount * inputCount; i++) {
        codes.push_back(random_code<W>(random));
        weights.push_back(from_float<T>(float(number_of(codes.back()) * to_float(scales[size_t(i / inputCount * groups + i % inputCount / ScaleInputs)]))));
    }
    auto expected = multiply<T, float, 1>(inputs, weights, {}, rows, inputCount, outputCount);
    DeviceArray<T> inputArray("inputs", inputs);
    DeviceArray<W> codeArray("codes", codes);
    DeviceArray<bf16> scaleArray("scales", scales);
    DeviceArray<float> outputs("outputs", expected.size());
    Matrix<W> matrix = {codeArray.get(), scaleArray.get()};
    auto same = [&](const char* what) { check(std::memcmp(outputs.get(), expected.data(), expected.size() * sizeof(float)) == 0, std::string(what) + ": codes give other bits than their numbers"); };
    launch_in_all_orders("skinny_gemm", {unsigned(outputCount + 15) / 16, unsigned(rows + 15) / 16}, {SkinnyWarps * 32}, unsigned(skinny_shared_bytes(2)), outputs, [&] {
        skinny_gemm<T, W, float, 2>(outputs.get(), inputArray.get(), matrix, nullptr, rows, inputCount, outputCount);
    });
    same("few rows");
    launch_in_all_orders("wide_gemm", {unsigned((outputCount + 127) / 128 * ((rows + 63) / 64))}, {WideWarps * 32}, unsigned(wide_shared_bytes(64)), outputs, [&] {
        wide_gemm<T, W, float, 64, false>(outputs.get(), inputArray.get(), matrix, nullptr, rows, inputCount, outputCount);
    });
    same("many rows");
    for (int i = 0; i < 40; i++) {
        int output = random.below(outputCount), input = random.below(inputCount);
        check(weight_at<T>(matrix, output, input, inputCount) == to_float(weights[size_t(output * inputCount + input)]), "a weight by itself");
    }
}
}

namespace {
/// The kernel of sm_90's own instructions gives the bits of that for few rows.
template <typename T, typename Out> void check_hopper(uint64_t seed, int rows, int inputCount, int outputCount, bool withBias) {
    Random random(seed);
    auto inputs = random_values<T>(random, size_t(rows * inputCount)), weights = random_values<T>(random, size_t(outputCount * inputCount));
    auto bias = withBias ? random_values<T>(random, size_t(outputCount)) : std::vector<T>();
    auto expected = multiply<T, Out, 2>(inputs, weights, bias, rows, inputCount, outputCount);
    DeviceArray<T> inputArray("inputs", inputs), weightArray("weights", weights), biasArray("bias", bias);
    DeviceArray<Out> outputs("outputs", expected.size());
    unsigned blocks = unsigned((rows + HopperTile - 1) / HopperTile * ((outputCount + HopperTile - 1) / HopperTile));
    const T* ownBias = bias.empty() ? nullptr : biasArray.get();
    launch_in_all_orders("hopper_gemm", {blocks}, {HopperThreads}, unsigned(hopper_shared_bytes()), outputs, [&] {
        hopper_gemm<T, Out>(outputs.get(), inputArray.get(), weightArray.get(), ownBias, rows, inputCount, outputCount);
    });
    check(std::memcmp(outputs.get(), expected.data(), expected.size() * sizeof(Out)) == 0, "many rows by sm_90's instructions have other bits");
}
}

CASE("gemm: sm_90's own instructions give the bits of all others") {
    check_hopper<bf16, float>(11, 30, 1000, 70, true);
    check_hopper<f16, f16>(12, 140, 512, 33, false);
}

CASE("gemm: weights in codes are the numbers that they stand for") {
    check_codes<bf16, int8_code>(7, 3, 568, 20);
    check_codes<f16, int8_code>(8, 17, 40, 130);
    check_codes<bf16, e4m3_code>(9, 9, 1032, 17);
    check_codes<f16, e4m3_code>(10, 2, 72, 33);
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

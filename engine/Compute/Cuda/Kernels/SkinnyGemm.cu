// Products of a few rows with a weight matrix, as in decoding, where reading the weights is all the work: each weight is read once, 16 bytes a lane (8 of codes), straight into the
// registers of the tensor cores. The sum of an output runs in the same order however many rows there are, and in the order of WideGemm.cu: a row has the same bits in every batch.
#include "GemmOrder.cuh"
#include "ProductRows.cuh"
#include "Reduce.cuh"
#include "Weights.cuh"

extern __shared__ __align__(16) unsigned char shared_memory[];

constexpr int SkinnyWarps = GemmChains;
constexpr int SkinnyOutputs = 16;

/// For ColumnTiles * 8 rows.
__host__ __device__ constexpr int skinny_shared_bytes(int columnTiles) { return SkinnyWarps * columnTiles * SkinnyOutputs * 8 * 4; }

/// The product of a block: SkinnyOutputs outputs from firstOutput on, of ColumnTiles * 8 rows. A warp has a chain.
template <typename T, typename W, typename Out, int ColumnTiles, typename Rows>
__device__ __forceinline__ void skinny_product(Out* outputs, const T* inputs, Matrix<W> weights, const T* bias, Rows rows, int firstOutput, int inputCount, int outputCount) {
    // Runs of a warp whose weights are loaded at a time: 64 bytes a lane of each half of the outputs.
    constexpr int Ahead = Same<T, W>::value ? 4 : 8;
    const uint4 nothing = make_uint4(0, 0, 0, 0);
    int lane = threadIdx.x % WarpSize, warp = threadIdx.x / WarpSize, g = lane / 4, c = lane % 4;
    const T* rowInputs[ColumnTiles];
#pragma unroll
    for (int tile = 0; tile < ColumnTiles; tile++) {
        int row = rows.input(8 * tile + g);
        rowInputs[tile] = row < 0 ? nullptr : inputs + (size_t)row * inputCount;
    }

    float sums[ColumnTiles][4] = {};
    int chain = gemm_chain_inputs(inputCount), chainEnd = min(inputCount, (warp + 1) * chain);
    for (int k = warp * chain; k < chainEnd; k += Ahead * GemmRun) {
        // All loads before the first product: what is under way at a time is what hides the memory's latency.
        EightWeights<T, W> a[Ahead], b[Ahead];
#pragma unroll
        for (int i = 0; i < Ahead; i++) {
            int own = k + i * GemmRun + 8 * c;
            a[i] = EightWeights<T, W>::load(weights, firstOutput + g, own, inputCount, own < chainEnd && firstOutput + g < outputCount);
            b[i] = EightWeights<T, W>::load(weights, firstOutput + g + 8, own, inputCount, own < chainEnd && firstOutput + g + 8 < outputCount);
        }
#pragma unroll
        for (int i = 0; i < Ahead; i++) {
            int own = k + i * GemmRun + 8 * c;
            uint4 low = a[i].numbers(), high = b[i].numbers();
            unsigned first[4] = {low.x, high.x, low.y, high.y}, second[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
            for (int tile = 0; tile < ColumnTiles; tile++) {
                uint4 x = own < chainEnd && rowInputs[tile] != nullptr ? load_eight<T>(rowInputs[tile] + own) : nothing;
                unsigned firstInput[2] = {x.x, x.y}, secondInput[2] = {x.z, x.w};
                multiply_accumulate<T>(sums[tile], first, firstInput);
                multiply_accumulate<T>(sums[tile], second, secondInput);
            }
        }
    }

    // [chains, tiles, 16 outputs, 8 rows].
    float* shares = reinterpret_cast<float*>(shared_memory);
#pragma unroll
    for (int tile = 0; tile < ColumnTiles; tile++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            shares[((warp * ColumnTiles + tile) * SkinnyOutputs + g + i / 2 * 8) * 8 + 2 * c + i % 2] = sums[tile][i];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < ColumnTiles * SkinnyOutputs * 8; i += blockDim.x) {
        int own = i / SkinnyOutputs, output = firstOutput + i % SkinnyOutputs;
        if (rows.input(own) >= 0 && output < outputCount) {
            float sum = bias == nullptr ? 0.0f : to_float(bias[output]);
            for (int w = 0; w < GemmChains; w++) {
                sum += shares[((w * ColumnTiles + own / 8) * SkinnyOutputs + i % SkinnyOutputs) * 8 + own % 8];
            }
            outputs[(size_t)rows.output(own) * outputCount + output] = from_float<Out>(sum);
        }
    }
}

/// outputs [rows, outputCount] = inputs [rows, inputCount] * weights [outputCount, inputCount]^T + bias (null: none). inputCount is a multiple of 8.
/// Grid: (ceil(outputCount / 16), ceil(rows / (8 * ColumnTiles))); block: SkinnyWarps * 32, a warp a chain; shared memory: skinny_shared_bytes.
template <typename T, typename W, typename Out, int ColumnTiles>
__global__ void __launch_bounds__(SkinnyWarps * WarpSize) skinny_gemm(
    Out* outputs, const T* inputs, Matrix<W> weights, const T* bias, int rows, int inputCount, int outputCount) {
    DenseRows own = {(int)blockIdx.y * ColumnTiles * 8, rows};
    skinny_product<T, W, Out, ColumnTiles>(outputs, inputs, weights, bias, own, blockIdx.x * SkinnyOutputs, inputCount, outputCount);
}

/// outputs [slots, outputCount] of inputs [slots / each, inputCount] with the matrix of each slot's expert: weights are [experts, outputCount, inputCount]. Tiles have up to 8 slots.
/// Grid: (tiles, ceil(outputCount / 16)); block and shared memory as skinny_gemm.
template <typename T, typename W, typename Out>
__global__ void __launch_bounds__(SkinnyWarps * WarpSize) skinny_experts(
    Out* outputs, const T* inputs, Matrix<W> weights, const ExpertTile* tiles, const int* slots, int each, int inputCount, int outputCount) {
    ExpertTile tile = tiles[blockIdx.x];
    if (tile.expert < 0) {
        return;
    }
    ExpertRows own = {slots + tile.first, tile.count, each};
    skinny_product<T, W, Out, 1>(outputs, inputs, expert_matrix(weights, tile.expert, inputCount, outputCount), (const T*)nullptr, own, blockIdx.y * SkinnyOutputs, inputCount, outputCount);
}

// Products of a few rows with a weight matrix, as in decoding, where reading the weights is all the work: each weight is read once, 16 bytes a lane, straight into the
// registers of the tensor cores. The sum of an output runs in the same order however many rows there are, and in the order of WideGemm.cu: a row has the same bits in every batch.
#include "GemmOrder.cuh"
#include "Numbers.cuh"
#include "Reduce.cuh"

extern __shared__ __align__(16) unsigned char shared_memory[];

constexpr int SkinnyWarps = GemmChains;
constexpr int SkinnyOutputs = 16;
/// Steps of a warp whose weights are loaded at a time.
constexpr int SkinnyAhead = 4;

/// For ColumnTiles * 8 rows.
__host__ __device__ constexpr int skinny_shared_bytes(int columnTiles) { return SkinnyWarps * columnTiles * SkinnyOutputs * 8 * 4; }

/// outputs [rows, outputCount] = inputs [rows, inputCount] * weights [outputCount, inputCount]^T + bias (null: none). inputCount is a multiple of 8.
/// Grid: (ceil(outputCount / 16), ceil(rows / (8 * ColumnTiles))); block: SkinnyWarps * 32, a warp a chain; shared memory: skinny_shared_bytes.
template <typename T, typename Out, int ColumnTiles>
__global__ void __launch_bounds__(SkinnyWarps * WarpSize) skinny_gemm(
    Out* outputs, const T* inputs, const T* weights, const T* bias, int rows, int inputCount, int outputCount) {
    const uint4 nothing = make_uint4(0, 0, 0, 0);
    int lane = threadIdx.x % WarpSize, warp = threadIdx.x / WarpSize, g = lane / 4, c = lane % 4;
    int firstOutput = blockIdx.x * SkinnyOutputs, firstRow = blockIdx.y * ColumnTiles * 8;
    const T* low = firstOutput + g < outputCount ? weights + (size_t)(firstOutput + g) * inputCount : nullptr;
    const T* high = firstOutput + g + 8 < outputCount ? weights + (size_t)(firstOutput + g + 8) * inputCount : nullptr;

    float sums[ColumnTiles][4] = {};
    int chain = gemm_chain_inputs(inputCount), chainEnd = min(inputCount, (warp + 1) * chain);
    for (int k = warp * chain; k < chainEnd; k += SkinnyAhead * GemmRun) {
        // All loads before the first product: what is under way at a time is what hides the memory's latency.
        uint4 a[SkinnyAhead], b[SkinnyAhead];
#pragma unroll
        for (int i = 0; i < SkinnyAhead; i++) {
            int own = k + i * GemmRun + 8 * c;
            a[i] = own < chainEnd && low != nullptr ? load_eight<T>(low + own) : nothing;
            b[i] = own < chainEnd && high != nullptr ? load_eight<T>(high + own) : nothing;
        }
#pragma unroll
        for (int i = 0; i < SkinnyAhead; i++) {
            int own = k + i * GemmRun + 8 * c;
            unsigned first[4] = {a[i].x, b[i].x, a[i].y, b[i].y}, second[4] = {a[i].z, b[i].z, a[i].w, b[i].w};
#pragma unroll
            for (int tile = 0; tile < ColumnTiles; tile++) {
                int row = firstRow + 8 * tile + g;
                uint4 x = own < chainEnd && row < rows ? load_eight<T>(inputs + (size_t)row * inputCount + own) : nothing;
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
        int tile = i / (SkinnyOutputs * 8), row = firstRow + 8 * tile + i / SkinnyOutputs % 8, output = firstOutput + i % SkinnyOutputs;
        if (row < rows && output < outputCount) {
            float sum = bias == nullptr ? 0.0f : to_float(bias[output]);
            for (int w = 0; w < GemmChains; w++) {
                sum += shares[((w * ColumnTiles + tile) * SkinnyOutputs + i % SkinnyOutputs) * 8 + i / SkinnyOutputs % 8];
            }
            outputs[(size_t)row * outputCount + output] = from_float<Out>(sum);
        }
    }
}

// Products of many rows with a weight matrix, as in prefill and in decoding large batches: weights and inputs pass through shared memory in stages. Sums run in the order of GemmOrder.cuh, as
// those of SkinnyGemm.cu. Where the outputs are too few to keep the device busy, each chain is a block's own, and a second kernel adds them up.
#include "GemmOrder.cuh"
#include "Numbers.cuh"
#include "Reduce.cuh"

extern __shared__ __align__(16) unsigned char shared_memory[];

/// Outputs of a block.
constexpr int WideOutputs = 128;
constexpr int WideWarps = 8;
constexpr int WideStages = 4;
/// Tiles of rows that are computed one after the other with the same weights, which then come from the cache.
constexpr int WideBand = 16;

/// A stage has a run of inputs of both, 64 bytes a vector.
__host__ __device__ constexpr int wide_shared_bytes(int tileRows) { return WideStages * (WideOutputs + tileRows) * GemmRun * 2; }

/// Brings run `run` of Count vectors into a stage, by all threads; zeros behind the last vector and the last input.
template <int Count, typename T>
__device__ __forceinline__ void load_run(T* stage, const T* vectors, int first, int count, int run, int inputCount) {
#pragma unroll
    for (int i = 0; i < Count * 4 / (WideWarps * WarpSize); i++) {
        int piece = i * WideWarps * WarpSize + threadIdx.x, k = run * GemmRun + piece % 4 * 8;
        bool inside = first + piece / 4 < count && k < inputCount;
        copy_async(stage + piece * 8, inside ? vectors + (size_t)(first + piece / 4) * inputCount + k : vectors, inside);
    }
}

/// outputs [rows, outputCount] = inputs [rows, inputCount] * weights [outputCount, inputCount]^T + bias (null: none). inputCount is a multiple of 8.
/// TileRows: rows of a block, 64 or 128. Grid: ceil(rows / TileRows) * ceil(outputCount / WideOutputs), and GemmChains if Split; block: WideWarps * 32; shared memory: wide_shared_bytes.
/// Split: outputs are [GemmChains, rows, outputCount] in f32 and have no bias; add_chains makes the product of them.
template <typename T, typename Out, int TileRows, bool Split>
__global__ void __launch_bounds__(WideWarps * WarpSize) wide_gemm(
    Out* outputs, const T* inputs, const T* weights, const T* bias, int rows, int inputCount, int outputCount) {
    // Warps lie side by side over outputs and rows; each has 32 rows.
    constexpr int RowWarps = TileRows / 32, OutputWarps = WideWarps / RowWarps, OutputTiles = WideOutputs / OutputWarps / 16, RowTiles = 4;
    constexpr int StageElements = (WideOutputs + TileRows) * GemmRun;
    int lane = threadIdx.x % WarpSize, warp = threadIdx.x / WarpSize, g = lane / 4, c = lane % 4;
    int rowBlocks = (rows + TileRows - 1) / TileRows, outputBlocks = (outputCount + WideOutputs - 1) / WideOutputs;
    // Bands of rows; within one, all rows of an output tile before the next.
    int band = blockIdx.x / (WideBand * outputBlocks), bandRows = min(WideBand, rowBlocks - band * WideBand), place = blockIdx.x - band * WideBand * outputBlocks;
    int firstRow = (band * WideBand + place % bandRows) * TileRows, firstOutput = place / bandRows * WideOutputs;
    int ownOutput = warp % OutputWarps * OutputTiles * 16, ownRow = warp / OutputWarps * 32;
    T* shared = reinterpret_cast<T*>(shared_memory);

    int chainRuns = gemm_chain_inputs(inputCount) / GemmRun, allRuns = (inputCount + GemmRun - 1) / GemmRun;
    int firstRun = Split ? min(allRuns, (int)blockIdx.y * chainRuns) : 0, endRun = Split ? min(allRuns, firstRun + chainRuns) : allRuns;
    auto load = [&](int run) {
        if (run < endRun) {
            T* stage = shared + run % WideStages * StageElements;
            load_run<WideOutputs>(stage, weights, firstOutput, outputCount, run, inputCount);
            load_run<TileRows>(stage + WideOutputs * GemmRun, inputs, firstRow, rows, run, inputCount);
        }
        // An empty group where there is nothing more, so that counting groups counts runs.
        commit_copies();
    };
#pragma unroll
    for (int i = 0; i < WideStages - 1; i++) {
        load(firstRun + i);
    }

    // A lane has outputs g and g + 8 of rows 2c and 2c + 1 of each tile.
    float sums[OutputTiles][RowTiles][4], chain[OutputTiles][RowTiles][4];
#pragma unroll
    for (int o = 0; o < OutputTiles; o++) {
#pragma unroll
        for (int r = 0; r < RowTiles; r++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int output = firstOutput + ownOutput + 16 * o + g + i / 2 * 8;
                sums[o][r][i] = bias != nullptr && output < outputCount ? to_float(bias[output]) : 0.0f;
                chain[o][r][i] = 0;
            }
        }
    }
    for (int run = firstRun; run < endRun; run++) {
        wait_for_copies<WideStages - 2>();
        __syncthreads();
        load(run + WideStages - 1);
        const T* a = shared + run % WideStages * StageElements;
        const T* b = a + WideOutputs * GemmRun;
        // 16 bytes a lane: the eight lanes that are served at a time read two vectors side by side.
        uint4 x[RowTiles];
#pragma unroll
        for (int r = 0; r < RowTiles; r++) {
            x[r] = *reinterpret_cast<const uint4*>(b + (ownRow + 8 * r + g) * GemmRun + 8 * c);
        }
#pragma unroll
        for (int o = 0; o < OutputTiles; o++) {
            uint4 low = *reinterpret_cast<const uint4*>(a + (ownOutput + 16 * o + g) * GemmRun + 8 * c);
            uint4 high = *reinterpret_cast<const uint4*>(a + (ownOutput + 16 * o + g + 8) * GemmRun + 8 * c);
            unsigned first[4] = {low.x, high.x, low.y, high.y}, second[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
            for (int r = 0; r < RowTiles; r++) {
                unsigned firstInput[2] = {x[r].x, x[r].y}, secondInput[2] = {x[r].z, x[r].w};
                multiply_accumulate<T>(chain[o][r], first, firstInput);
                multiply_accumulate<T>(chain[o][r], second, secondInput);
            }
        }
        if ((run + 1) % chainRuns == 0 || run + 1 == endRun) {
#pragma unroll
            for (int o = 0; o < OutputTiles; o++) {
#pragma unroll
                for (int r = 0; r < RowTiles; r++) {
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        sums[o][r][i] += chain[o][r][i];
                        chain[o][r][i] = 0;
                    }
                }
            }
        }
    }
    wait_for_copies<0>();

    Out* own = outputs + (Split ? (size_t)blockIdx.y * rows * outputCount : 0);
#pragma unroll
    for (int o = 0; o < OutputTiles; o++) {
#pragma unroll
        for (int r = 0; r < RowTiles; r++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int output = firstOutput + ownOutput + 16 * o + g + i / 2 * 8, row = firstRow + ownRow + 8 * r + 2 * c + i % 2;
                if (output < outputCount && row < rows) {
                    own[(size_t)row * outputCount + output] = from_float<Out>(sums[o][r][i]);
                }
            }
        }
    }
}

/// outputs [rows, outputCount] of the chains [GemmChains, rows, outputCount] that wide_gemm left. Grid: (ceil(outputCount / block), rows).
template <typename T, typename Out>
__global__ void add_chains(Out* outputs, const float* chains, const T* bias, int rows, int outputCount) {
    int output = blockIdx.x * blockDim.x + threadIdx.x;
    if (output < outputCount) {
        size_t at = (size_t)blockIdx.y * outputCount + output;
        float sum = bias == nullptr ? 0.0f : to_float(bias[output]);
        for (int chain = 0; chain < GemmChains; chain++) {
            sum += chains[(size_t)chain * rows * outputCount + at];
        }
        outputs[at] = from_float<Out>(sum);
    }
}

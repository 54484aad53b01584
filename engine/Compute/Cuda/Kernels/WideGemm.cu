// Products of many rows with a weight matrix, as in prefill and in decoding large batches: weights and inputs pass through shared memory in stages. Sums run in the order of GemmOrder.cuh, as
// those of SkinnyGemm.cu. Where the outputs are too few to keep the device busy, each chain is a block's own, and a second kernel adds them up.
#include "GemmOrder.cuh"
#include "ProductRows.cuh"
#include "Reduce.cuh"
#include "Weights.cuh"

extern __shared__ __align__(16) unsigned char shared_memory[];

/// Outputs of a block.
constexpr int WideOutputs = 128;
constexpr int WideWarps = 8;
constexpr int WideStages = 4;
/// Tiles of rows that are computed one after the other with the same weights, which then come from the cache.
constexpr int WideBand = 16;

/// A stage has a run of inputs of both, 64 bytes a vector.
__host__ __device__ constexpr int wide_shared_bytes(int tileRows) { return WideStages * (WideOutputs + tileRows) * GemmRun * 2; }

/// Where a thread's pieces of 8 elements of Count vectors come from: piece p is 16 bytes p % 4 of a run of vector p / 4. Null: there is no such vector.
template <typename T, int Count> struct Pieces {
    const T* from[Count * 4 / (WideWarps * WarpSize)];

    /// vector(i) is the begin of vector i, or null.
    template <typename Vector> __device__ __forceinline__ void find(Vector vector) {
#pragma unroll
        for (int i = 0; i < Count * 4 / (WideWarps * WarpSize); i++) {
            from[i] = vector((i * WideWarps * WarpSize + (int)threadIdx.x) / 4);
        }
    }

    /// Brings a run into a stage, by all threads; zeros behind the last vector and the last input. `any` is an address that can be read.
    __device__ __forceinline__ void copy(T* stage, int run, int inputCount, const T* any) const {
        int k = run * GemmRun + threadIdx.x % 4 * 8;
#pragma unroll
        for (int i = 0; i < Count * 4 / (WideWarps * WarpSize); i++) {
            bool inside = from[i] != nullptr && k < inputCount;
            copy_async(stage + (i * WideWarps * WarpSize + threadIdx.x) * 8, inside ? from[i] + k : any, inside);
        }
    }
};

/// The weights of a block's outputs on their way into a stage.
template <typename T, typename W> struct WeightRuns {
    Matrix<W> matrix;
    int firstOutput, outputCount, inputCount;
    EightWeights<T, W> held[WideOutputs * 4 / (WideWarps * WarpSize)];

    __device__ __forceinline__ WeightRuns(Matrix<W> weights, int first, int outputs, int inputs) : matrix(weights), firstOutput(first), outputCount(outputs), inputCount(inputs) {}

    /// Codes are held in registers while a run before them is multiplied.
    __device__ __forceinline__ void begin(T*, int run) {
        int k = run * GemmRun + threadIdx.x % 4 * 8;
#pragma unroll
        for (int i = 0; i < WideOutputs * 4 / (WideWarps * WarpSize); i++) {
            int output = firstOutput + (i * WideWarps * WarpSize + (int)threadIdx.x) / 4;
            held[i] = EightWeights<T, W>::load(matrix, output, k, inputCount, output < outputCount && k < inputCount);
        }
    }

    __device__ __forceinline__ void end(T* stage) {
#pragma unroll
        for (int i = 0; i < WideOutputs * 4 / (WideWarps * WarpSize); i++) {
            *reinterpret_cast<uint4*>(stage + (i * WideWarps * WarpSize + threadIdx.x) * 8) = held[i].numbers();
        }
    }
};

template <typename T> struct WeightRuns<T, T> {
    Pieces<T, WideOutputs> pieces;
    const T* any;
    int inputCount;

    __device__ __forceinline__ WeightRuns(Matrix<T> weights, int first, int outputs, int inputs) : any(weights.weights), inputCount(inputs) {
        pieces.find([&](int i) { return first + i < outputs ? weights.weights + (size_t)(first + i) * inputs : nullptr; });
    }

    __device__ __forceinline__ void begin(T* stage, int run) { pieces.copy(stage, run, inputCount, any); }
    __device__ __forceinline__ void end(T*) {}
};

/// The product of a block: WideOutputs outputs from firstOutput on, of TileRows rows; of one chain if Split, without bias.
template <typename T, typename W, typename Out, int TileRows, bool Split, typename Rows>
__device__ __forceinline__ void wide_product(Out* outputs, const T* inputs, Matrix<W> weights, const T* bias, Rows rows, int firstOutput, int inputCount, int outputCount) {
    // Warps lie side by side over outputs and rows; each has 32 rows.
    constexpr int RowWarps = TileRows / 32, OutputWarps = WideWarps / RowWarps, OutputTiles = WideOutputs / OutputWarps / 16, RowTiles = 4;
    constexpr int StageElements = (WideOutputs + TileRows) * GemmRun;
    int lane = threadIdx.x % WarpSize, warp = threadIdx.x / WarpSize, g = lane / 4, c = lane % 4;
    int ownOutput = warp % OutputWarps * OutputTiles * 16, ownRow = warp / OutputWarps * 32;
    T* shared = reinterpret_cast<T*>(shared_memory);

    int chainRuns = gemm_chain_inputs(inputCount) / GemmRun, allRuns = (inputCount + GemmRun - 1) / GemmRun;
    int firstRun = Split ? min(allRuns, (int)blockIdx.y * chainRuns) : 0, endRun = Split ? min(allRuns, firstRun + chainRuns) : allRuns;
    WeightRuns<T, W> weightRuns(weights, firstOutput, outputCount, inputCount);
    Pieces<T, TileRows> inputRuns;
    inputRuns.find([&](int i) {
        int row = rows.input(i);
        return row < 0 ? nullptr : inputs + (size_t)row * inputCount;
    });
    auto stage_of = [&](int run) { return shared + run % WideStages * StageElements; };
    auto begin_load = [&](int run) {
        if (run < endRun) {
            weightRuns.begin(stage_of(run), run);
            inputRuns.copy(stage_of(run) + WideOutputs * GemmRun, run, inputCount, inputs);
        }
        // An empty group where there is nothing more, so that counting groups counts runs.
        commit_copies();
    };
    auto end_load = [&](int run) {
        if (run < endRun) {
            weightRuns.end(stage_of(run));
        }
    };
#pragma unroll
    for (int i = 0; i < WideStages - 1; i++) {
        begin_load(firstRun + i);
        end_load(firstRun + i);
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
        begin_load(run + WideStages - 1);
        const T* a = stage_of(run);
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
        end_load(run + WideStages - 1);
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

#pragma unroll
    for (int r = 0; r < RowTiles; r++) {
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int row = ownRow + 8 * r + 2 * c + j;
            if (rows.input(row) < 0) {
                continue;
            }
            Out* own = outputs + (size_t)rows.output(row) * outputCount;
#pragma unroll
            for (int o = 0; o < OutputTiles; o++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    int output = firstOutput + ownOutput + 16 * o + g + 8 * i;
                    if (output < outputCount) {
                        own[output] = from_float<Out>(sums[o][r][2 * i + j]);
                    }
                }
            }
        }
    }
}

/// outputs [rows, outputCount] = inputs [rows, inputCount] * weights [outputCount, inputCount]^T + bias (null: none). inputCount is a multiple of 8.
/// TileRows: rows of a block, 64 or 128. Grid: ceil(rows / TileRows) * ceil(outputCount / WideOutputs), and GemmChains if Split; block: WideWarps * 32; shared memory: wide_shared_bytes.
/// Split: outputs are [GemmChains, rows, outputCount] in f32 and have no bias; add_chains makes the product of them.
template <typename T, typename W, typename Out, int TileRows, bool Split>
__global__ void __launch_bounds__(WideWarps * WarpSize) wide_gemm(
    Out* outputs, const T* inputs, Matrix<W> weights, const T* bias, int rows, int inputCount, int outputCount) {
    int rowBlocks = (rows + TileRows - 1) / TileRows, outputBlocks = (outputCount + WideOutputs - 1) / WideOutputs;
    // Bands of rows; within one, all rows of an output tile before the next.
    int band = blockIdx.x / (WideBand * outputBlocks), bandRows = min(WideBand, rowBlocks - band * WideBand), place = blockIdx.x - band * WideBand * outputBlocks;
    DenseRows own = {(band * WideBand + place % bandRows) * TileRows, rows};
    Out* to = outputs + (Split ? (size_t)blockIdx.y * rows * outputCount : 0);
    wide_product<T, W, Out, TileRows, Split>(to, inputs, weights, bias, own, place / bandRows * WideOutputs, inputCount, outputCount);
}

/// As skinny_experts, for tiles of up to TileRows slots. Grid: (tiles, ceil(outputCount / WideOutputs)); block and shared memory as wide_gemm.
template <typename T, typename W, typename Out, int TileRows>
__global__ void __launch_bounds__(WideWarps * WarpSize) wide_experts(
    Out* outputs, const T* inputs, Matrix<W> weights, const ExpertTile* tiles, const int* slots, int each, int inputCount, int outputCount) {
    ExpertTile tile = tiles[blockIdx.x];
    if (tile.expert < 0) {
        return;
    }
    ExpertRows own = {slots + tile.first, tile.count, each};
    wide_product<T, W, Out, TileRows, false>(
        outputs, inputs, expert_matrix(weights, tile.expert, inputCount, outputCount), (const T*)nullptr, own, blockIdx.y * WideOutputs, inputCount, outputCount);
}

/// outputs [rows, outputCount] of the chains [GemmChains, rows, outputCount] that wide_gemm left. Grid: (rows, ceil(outputCount / block)).
template <typename T, typename Out>
__global__ void add_chains(Out* outputs, const float* chains, const T* bias, int rows, int outputCount) {
    int output = blockIdx.y * blockDim.x + threadIdx.x;
    if (output < outputCount) {
        size_t at = (size_t)blockIdx.x * outputCount + output;
        float sum = bias == nullptr ? 0.0f : to_float(bias[output]);
        for (int chain = 0; chain < GemmChains; chain++) {
            sum += chains[(size_t)chain * rows * outputCount + at];
        }
        outputs[at] = from_float<Out>(sum);
    }
}

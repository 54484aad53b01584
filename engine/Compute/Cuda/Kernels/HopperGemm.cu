// Products of many rows with a weight matrix by sm_90's own instructions, in the order of GemmOrder.cuh: a step has the inputs that it has in SkinnyGemm.cu and WideGemm.cu, so that the sums are theirs where the
// GPU adds up a step alike in both kinds of instruction (CudaProducts asks it at the start).
#include "GemmOrder.cuh"
#include "Numbers.cuh"
#include "Reduce.cuh"
#include "WarpGroup.cuh"

extern __shared__ __align__(16) unsigned char shared_memory[];

/// Outputs and rows of a block, of which each warp group has half of the outputs.
constexpr int HopperTile = 128;
constexpr int HopperThreads = 256;
constexpr int HopperStages = 6;
/// Inputs of a stage: chains are multiples of it.
constexpr int HopperInputs = 64;
/// Tiles of rows that are computed one after the other with the same weights.
constexpr int HopperBand = 16;

/// Stages are aligned to groups of eight rows.
__host__ __device__ constexpr int hopper_shared_bytes() { return HopperStages * 2 * HopperTile * GroupRowBytes + 8 * GroupRowBytes; }

/// outputs [rows, outputCount] = inputs [rows, inputCount] * weights [outputCount, inputCount]^T + bias (null: none). inputCount is a multiple of 8, gemm_chain_inputs of it one of HopperInputs.
/// Grid: ceil(rows / HopperTile) * ceil(outputCount / HopperTile); block: HopperThreads; shared memory: hopper_shared_bytes.
template <typename T, typename Out>
__global__ void __launch_bounds__(HopperThreads, 1) hopper_gemm(Out* outputs, const T* inputs, const T* weights, const T* bias, int rows, int inputCount, int outputCount) {
    constexpr int VectorsAtATime = HopperThreads / 8, Rounds = HopperTile / VectorsAtATime, TileBytes = HopperTile * GroupRowBytes;
    int lane = threadIdx.x % WarpSize, warp = threadIdx.x / WarpSize, group = warp / 4, g = lane / 4, c = lane % 4;
    int rowBlocks = (rows + HopperTile - 1) / HopperTile, outputBlocks = (outputCount + HopperTile - 1) / HopperTile;
    int band = blockIdx.x / (HopperBand * outputBlocks), bandRows = min(HopperBand, rowBlocks - band * HopperBand), place = blockIdx.x - band * HopperBand * outputBlocks;
    int firstRow = (band * HopperBand + place % bandRows) * HopperTile, firstOutput = place / bandRows * HopperTile;
    unsigned char* stages = shared_memory + (8 * GroupRowBytes - shared_address(shared_memory) % (8 * GroupRowBytes)) % (8 * GroupRowBytes);

    // A thread brings piece t % 8 of 16 bytes of every 32nd vector: its first half belongs to the run's first step, its second half to the second.
    int piece = threadIdx.x % 8, vector = threadIdx.x / 8;
    int firstStep = piece / 4 * 2, halfPiece = piece % 4 / 2, halfBytes = piece % 2 * 8;
    int toFirst = vector * GroupRowBytes + ((firstStep * 2 + halfPiece) ^ (vector % 8)) * 16 + halfBytes;
    int toSecond = vector * GroupRowBytes + (((firstStep + 1) * 2 + halfPiece) ^ (vector % 8)) * 16 + halfBytes;
    int blocks = (inputCount + HopperInputs - 1) / HopperInputs, chainBlocks = gemm_chain_inputs(inputCount) / HopperInputs;
    auto load = [&](int block) {
        if (block < blocks) {
            unsigned char* stage = stages + block % HopperStages * 2 * TileBytes;
            int k = block * HopperInputs + piece * 8;
#pragma unroll
            for (int i = 0; i < 2 * Rounds; i++) {
                bool ofWeights = i < Rounds;
                int own = (ofWeights ? firstOutput : firstRow) + vector + i % Rounds * VectorsAtATime;
                bool inside = own < (ofWeights ? outputCount : rows) && k < inputCount;
                const T* from = (ofWeights ? weights : inputs) + (inside ? (size_t)own * inputCount + k : 0);
                unsigned char* to = stage + (ofWeights ? 0 : TileBytes) + i % Rounds * VectorsAtATime * GroupRowBytes;
                copy_async_half(to + toFirst, from, inside);
                copy_async_half(to + toSecond, from + 4, inside);
            }
        }
        commit_copies();
    };
#pragma unroll
    for (int i = 0; i < HopperStages - 1; i++) {
        load(i);
    }

    int ownOutput = firstOutput + group * 64 + warp % 4 * 16 + g;
    float sums[64], chain[64];
#pragma unroll
    for (int i = 0; i < 64; i++) {
        int output = ownOutput + i % 4 / 2 * 8;
        sums[i] = bias != nullptr && output < outputCount ? to_float(bias[output]) : 0.0f;
        chain[i] = 0;
    }
    for (int block = 0; block < blocks; block++) {
        wait_for_copies<HopperStages - 2>();
        show_group();
        __syncthreads();
        const unsigned char* stage = stages + block % HopperStages * 2 * TileBytes;
        unsigned long long a = group_matrix(stage + group * 64 * GroupRowBytes), b = group_matrix(stage + TileBytes);
        begin_group();
#pragma unroll
        for (int step = 0; step < HopperInputs / 16; step++) {
            multiply_group<T>(chain, a + 2 * step, b + 2 * step, step > 0 || block % chainBlocks > 0);
        }
        end_group();
        // Into the stage that all warp groups were done with before the barrier.
        load(block + HopperStages - 1);
        wait_for_group();
        if ((block + 1) % chainBlocks == 0 || block + 1 == blocks) {
#pragma unroll
            for (int i = 0; i < 64; i++) {
                sums[i] += chain[i];
            }
        }
    }
    wait_for_copies<0>();

#pragma unroll
    for (int i = 0; i < 64; i++) {
        int output = ownOutput + i % 4 / 2 * 8, row = firstRow + i / 4 * 8 + 2 * c + i % 2;
        if (output < outputCount && row < rows) {
            outputs[(size_t)row * outputCount + output] = from_float<Out>(sums[i]);
        }
    }
}

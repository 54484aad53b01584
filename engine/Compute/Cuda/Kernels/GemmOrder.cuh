// The order in which every product with a weight matrix sums, whatever its number of rows: the inputs are cut into chains, each summed by the tensor cores 16 at a time in ascending order, and
// the bias and then the chains are added up in ascending order. Weights are the first operand of each step, activations the second, with the inputs of a run of 32 in the order that
// TensorCore.cuh tells for loads of 16 bytes a lane.
#pragma once

constexpr int GemmChains = 8;

/// Inputs of two steps.
constexpr int GemmRun = 32;

/// Inputs of a chain; the last ones may have fewer, or none.
__host__ __device__ constexpr int gemm_chain_inputs(int inputCount) { return (inputCount + GemmChains * GemmRun - 1) / (GemmChains * GemmRun) * GemmRun; }

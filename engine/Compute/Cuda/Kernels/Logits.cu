// Logits whose vocabulary is divided among GPUs.
#include "Numbers.cuh"

/// logits [rows, vocab]: part [rows, count] in columns [first, first + count), zeros elsewhere, so that the sum over all ranks has everyone's. Grid: (rows, ceil(vocab / block)).
__global__ void place_columns(float* logits, const float* part, int first, int count, int vocab) {
    int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i < vocab) {
        logits[(size_t)blockIdx.x * vocab + i] = i >= first && i < first + count ? part[(size_t)blockIdx.x * count + i - first] : 0.0f;
    }
}

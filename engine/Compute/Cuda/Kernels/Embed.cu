// Rows of the embedding matrix into the residual stream.
#include "Numbers.cuh"

/// residual [rows, hidden] = table[tokens[row]] * scale. Grid: (ceil(hidden / block), rows).
template <typename W>
__global__ void embed(float* residual, const W* table, const int* tokens, float scale, int hidden) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < hidden) {
        int row = blockIdx.y;
        residual[(size_t)row * hidden + i] = to_float(table[(size_t)tokens[row] * hidden + i]) * scale;
    }
}

// Rows of the embedding matrix into the residual stream.
#include "Numbers.cuh"

/// residual [rows, hidden] = table[tokens[row]] * scale; a token below 0 is chosen[-1 - token], from the step before. Grid: (ceil(hidden / block), rows).
template <typename W>
__global__ void embed(float* residual, const W* table, const int* tokens, const int* chosen, float scale, int hidden) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < hidden) {
        int row = blockIdx.y, token = tokens[row];
        token = token < 0 ? chosen[-1 - token] : token;
        residual[(size_t)row * hidden + i] = to_float(table[(size_t)token * hidden + i]) * scale;
    }
}

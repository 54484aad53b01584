// Rows of the embedding matrix into the residual stream.
#include "Weights.cuh"

/// residual [rows, hidden] = table[tokens[row]] * scale; a token below 0 is chosen[-1 - token], from the step before. The table's rows have `stride` elements.
/// Grid: (rows, ceil(hidden / block)).
template <typename T, typename W>
__global__ void embed(float* residual, Matrix<W> table, const int* tokens, const int* chosen, float scale, int hidden, int stride) {
    int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i < hidden) {
        int row = blockIdx.x, token = tokens[row];
        token = token < 0 ? chosen[-1 - token] : token;
        residual[(size_t)row * hidden + i] = weight_at<T>(table, token, i, stride) * scale;
    }
}

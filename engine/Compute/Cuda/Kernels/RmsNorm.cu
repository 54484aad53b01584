// The residual stream takes up what half a block computed, and is normed for the next.
#include "Numbers.cuh"
#include "Reduce.cuh"

extern __shared__ __align__(16) unsigned char shared_memory[];

/// For each row: residual += delta, normed by postNorm first where that is not null; outputs = residual / sqrt(mean(residual^2) + epsilon) * norm.
/// A block a row, threads a multiple of 32; shared memory: MaxWarps floats, twice. Norm weights are f32, with the 1 of families that add one added.
/// `delta` null: nothing is added. `rows` not null: row i of the outputs is that of row rows[i] of residual and delta. Outputs have `stride` elements a row, zeros behind the last.
template <typename T, typename Delta>
__global__ void add_rms_norm(
    float* residual, const Delta* delta, const float* postNorm, const float* norm, T* outputs, const int* rows, int hidden, int stride, float epsilon) {
    float* scratch = reinterpret_cast<float*>(shared_memory);
    size_t from = (size_t)(rows == nullptr ? (int)blockIdx.x : rows[blockIdx.x]) * hidden;
    float* x = residual + from;
    if (delta != nullptr) {
        const Delta* y = delta + from;
        float scale = 1;
        if (postNorm != nullptr) {
            float squares = 0;
            for (int i = threadIdx.x; i < hidden; i += blockDim.x) {
                float value = to_float(y[i]);
                squares += value * value;
            }
            scale = 1.0f / sqrtf(block_sum(squares, scratch) / hidden + epsilon);
        }
        for (int i = threadIdx.x; i < hidden; i += blockDim.x) {
            x[i] += postNorm == nullptr ? to_float(y[i]) : to_float(y[i]) * scale * postNorm[i];
        }
    }
    // Each thread reads back only what it wrote itself.
    float squares = 0;
    for (int i = threadIdx.x; i < hidden; i += blockDim.x) {
        squares += x[i] * x[i];
    }
    float scale = 1.0f / sqrtf(block_sum(squares, scratch + MaxWarps) / hidden + epsilon);
    T* output = outputs + (size_t)blockIdx.x * stride;
    for (int i = threadIdx.x; i < stride; i += blockDim.x) {
        output[i] = from_float<T>(i < hidden ? x[i] * scale * norm[i] : 0.0f);
    }
}

// The gate of the feed-forward, and the cap of logits.
#include "Numbers.cuh"

struct Silu {
    static __device__ __forceinline__ float of(float x) { return x / (1.0f + expf(-x)); }
};

/// The tanh form of GELU.
struct GeluTanh {
    static __device__ __forceinline__ float of(float x) { return 0.5f * x * (1.0f + tanhf(0.797884561f * (x + 0.044715f * x * x * x))); }
};

/// outputs [rows, width] = activation(gate) * up, of gateUp [rows, 2 * width]: gate, up. Rows of which `experts` (may be null) is below 0 are not there. Grid: (rows, ceil(width / block)).
template <typename T, typename Activation>
__global__ void activate_multiply(const T* gateUp, T* outputs, const int* experts, int width) {
    int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i < width && (experts == nullptr || experts[blockIdx.x] >= 0)) {
        const T* gate = gateUp + (size_t)blockIdx.x * 2 * width;
        outputs[(size_t)blockIdx.x * width + i] = from_float<T>(Activation::of(to_float(gate[i])) * to_float(gate[width + i]));
    }
}

/// logits = cap * tanh(logits / cap).
__global__ void soft_cap(float* logits, float cap, size_t count) {
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) {
        logits[i] = cap * tanhf(logits[i] / cap);
    }
}

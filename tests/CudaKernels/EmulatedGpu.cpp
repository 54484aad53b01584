// The emulation as a library: a GPU whose memory is the process's own and whose launches run in the call. The engine's model runner computes whole models on it in tests. The
// kernels are those of the shapes below, under the names that NVRTC is asked for. One caller at a time.
#include "Emulation/Grid.h"

#include "Activate.cu"
#include "Embed.cu"
#include "Experts.cu"
#include "HopperGemm.cu"
#include "Logits.cu"
#include "PagedDecode.cu"
#include "PrefillAttention.cu"
#include "RmsNorm.cu"
#include "Rope.cu"
#include "Sample.cu"
#include "SkinnyGemm.cu"
#include "WideGemm.cu"

#include <cstdlib>
#include <string>
#include <utility>

namespace {
using Thunk = void (*)(void**);

/// Unpacks the arguments as the driver does. Not followed by the sanitizer: what a kernel is called with is the host's memory.
template <typename... Arguments, size_t... Places>
__attribute__((noinline, no_sanitize_thread)) void invoke(void (*kernel)(Arguments...), void** arguments, std::index_sequence<Places...>) {
    kernel(*static_cast<Arguments*>(arguments[Places])...);
}

template <typename... Arguments>
__attribute__((no_sanitize_thread)) void unpack(void (*kernel)(Arguments...), void** arguments) {
    invoke(kernel, arguments, std::index_sequence_for<Arguments...>{});
}

template <auto Kernel> __attribute__((no_sanitize_thread)) void thunk(void** arguments) { unpack(Kernel, arguments); }

struct Entry { const char* name; Thunk thunk; };

#define TYPE(T) \
    {"add_rms_norm<" #T ", float>", thunk<add_rms_norm<T, float>>}, {"combine_units<" #T ">", thunk<combine_units<T>>}, \
    {"rope_kv<" #T ", " #T ">", thunk<rope_kv<T, T>>}, {"activate_multiply<" #T ", Silu>", thunk<activate_multiply<T, Silu>>}, \
    {"activate_multiply<" #T ", GeluTanh>", thunk<activate_multiply<T, GeluTanh>>}, \
    {"add_chains<" #T ", " #T ">", thunk<add_chains<T, T>>}, {"add_chains<" #T ", float>", thunk<add_chains<T, float>>}
#define WEIGHTS(T, W) \
    {"embed<" #T ", " #W ">", thunk<embed<T, W>>}, \
    {"skinny_gemm<" #T ", " #W ", " #T ", 1>", thunk<skinny_gemm<T, W, T, 1>>}, {"skinny_gemm<" #T ", " #W ", " #T ", 2>", thunk<skinny_gemm<T, W, T, 2>>}, \
    {"skinny_gemm<" #T ", " #W ", float, 1>", thunk<skinny_gemm<T, W, float, 1>>}, {"skinny_gemm<" #T ", " #W ", float, 2>", thunk<skinny_gemm<T, W, float, 2>>}, \
    {"wide_gemm<" #T ", " #W ", " #T ", 64, false>", thunk<wide_gemm<T, W, T, 64, false>>}, {"wide_gemm<" #T ", " #W ", float, 64, false>", thunk<wide_gemm<T, W, float, 64, false>>}, \
    {"wide_gemm<" #T ", " #W ", " #T ", 128, false>", thunk<wide_gemm<T, W, T, 128, false>>}, {"wide_gemm<" #T ", " #W ", float, 128, false>", thunk<wide_gemm<T, W, float, 128, false>>}, \
    {"wide_gemm<" #T ", " #W ", float, 64, true>", thunk<wide_gemm<T, W, float, 64, true>>}, {"wide_gemm<" #T ", " #W ", float, 128, true>", thunk<wide_gemm<T, W, float, 128, true>>}
#define EXPERTS(T, W) \
    {"skinny_experts<" #T ", " #W ", " #T ">", thunk<skinny_experts<T, W, T>>}, {"skinny_experts<" #T ", " #W ", float>", thunk<skinny_experts<T, W, float>>}, \
    {"wide_experts<" #T ", " #W ", " #T ", 64>", thunk<wide_experts<T, W, T, 64>>}, {"wide_experts<" #T ", " #W ", float, 64>", thunk<wide_experts<T, W, float, 64>>}, \
    {"wide_experts<" #T ", " #W ", " #T ", 128>", thunk<wide_experts<T, W, T, 128>>}, {"wide_experts<" #T ", " #W ", float, 128>", thunk<wide_experts<T, W, float, 128>>}
#define SHAPE(T, KV, STRIDE, GROUP) \
    {"paged_decode<" #T ", " #KV ", " #STRIDE ", " #GROUP ">", thunk<paged_decode<T, KV, STRIDE, GROUP>>}, \
    {"prefill_attention<" #T ", " #KV ", " #STRIDE ", " #GROUP ">", thunk<prefill_attention<T, KV, STRIDE, GROUP>>}

std::string g_faults;

const Entry Kernels[] = {
    {"rope_angles", thunk<rope_angles>}, {"soft_cap", thunk<soft_cap>}, {"adjust_scores", thunk<adjust_scores>}, {"sample_tokens", thunk<sample_tokens>},
    {"route_experts", thunk<route_experts>}, {"sort_slots", thunk<sort_slots>}, {"mix_experts", thunk<mix_experts>}, {"place_columns", thunk<place_columns>},
    TYPE(bf16), TYPE(f16), WEIGHTS(bf16, bf16), WEIGHTS(f16, f16), WEIGHTS(bf16, int8_code), WEIGHTS(bf16, e4m3_code), EXPERTS(bf16, bf16), EXPERTS(bf16, int8_code),
    {"hopper_gemm<bf16, bf16>", thunk<hopper_gemm<bf16, bf16>>}, {"hopper_gemm<bf16, float>", thunk<hopper_gemm<bf16, float>>},
    {"rope_kv<bf16, float>", thunk<rope_kv<bf16, float>>},
    SHAPE(bf16, bf16, 16, 3), SHAPE(bf16, float, 16, 3), SHAPE(bf16, bf16, 16, 1), SHAPE(bf16, bf16, 16, 2), SHAPE(bf16, bf16, 8, 1), SHAPE(bf16, bf16, 24, 3), SHAPE(bf16, bf16, 32, 2),
    SHAPE(bf16, bf16, 16, 4), SHAPE(f16, f16, 8, 3), SHAPE(f16, f16, 16, 3), SHAPE(f16, f16, 48, 2),
};
}

extern "C" {
void* emulated_allocate(const char* name, size_t bytes) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, bytes) != 0) {
        return nullptr;
    }
    std::memset(memory, 0xff, bytes);
    emulation::register_memory(name, memory, bytes, false);
    return memory;
}

void emulated_free(void* memory) {
    emulation::unregister_memory(memory);
    free(memory);
}

void emulated_write(void* to, const void* from, size_t bytes) {
    std::memmove(to, from, bytes);
    emulation::host_wrote(to, bytes);
}

/// 0: there is no such kernel.
const void* emulated_kernel(const char* name) {
    for (const auto& entry : Kernels) {
        if (std::strcmp(entry.name, name) == 0) {
            return &entry;
        }
    }
    return nullptr;
}

/// What was wrong, until the next call; empty if nothing was.
const char* emulated_launch(
    const void* kernel, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned sharedBytes, void** arguments) {
    auto* entry = static_cast<const Entry*>(kernel);
    Thunk call = entry->thunk;
    g_faults = emulation::launch(
        entry->name, {gridX, gridY, gridZ}, {blockX, 1, 1}, sharedBytes, emulation::Order::Shuffled, [=]() __attribute__((no_sanitize_thread)) { call(arguments); });
    return g_faults.c_str();
}
}

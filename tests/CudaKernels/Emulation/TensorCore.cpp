// What engine/Compute/Cuda/Kernels/TensorCore.cuh reaches by PTX on a GPU, by its definition in the PTX manual: fragments lie in the lanes' registers as
// section "Matrix multiply-accumulate operation using mma instruction" shows, products are exact and summed in f32.
#include "Grid.h"

#include <vector>

extern unsigned char shared_memory[];

namespace emulation {
namespace {
float from_bf16(unsigned bits) { return __uint_as_float(bits << 16); }

float from_f16(unsigned bits) {
    int exponent = int(bits >> 10 & 31);
    float fraction = float(bits & 1023);
    float value = exponent == 0 ? std::ldexp(fraction, -24)
        : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
        : std::ldexp(fraction + 1024, exponent - 25);
    return bits & 0x8000 ? -value : value;
}

/// To the nearest, ties to even.
unsigned to_f16_bits(float value) {
    unsigned sign = __float_as_uint(value) >> 16 & 0x8000;
    float size = std::fabs(value);
    if (std::isnan(value)) {
        return sign | 0x7fff;
    }
    if (size >= 65520) {
        return sign | 0x7c00;
    }
    int exponent = -13;
    if (size >= 6.103515625e-05f) {  // the smallest normal number; below it, all have the same unit
        std::frexp(size, &exponent);
    }
    unsigned units = unsigned(std::nearbyint(std::ldexp(size, 11 - exponent)));  // the default rounding is to even
    return sign | ((unsigned(exponent + 13) << 10) + units);
}

float word_half(unsigned long long word, int half, bool bf16) {
    unsigned bits = unsigned(word >> (16 * half)) & 0xffff;
    return bf16 ? from_bf16(bits) : from_f16(bits);
}

/// d[16, 8] = a[16, 16] * b[16, 8] + d. Lane l = 4g + c holds a[g | g+8][2c, 2c+1 | 2c+8, 2c+9], b[2c, 2c+1 | 2c+8, 2c+9][g] and d[g | g+8][2c, 2c+1].
template <bool Bf16>
void multiply(LaneData* lanes[32], unsigned) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, c = lane % 4;
        auto* in = lanes[lane]->input;
        for (int half = 0; half < 2; half++) {
            a[g][2 * c + half] = word_half(in[0], half, Bf16);
            a[g + 8][2 * c + half] = word_half(in[0] >> 32, half, Bf16);
            a[g][2 * c + 8 + half] = word_half(in[1], half, Bf16);
            a[g + 8][2 * c + 8 + half] = word_half(in[1] >> 32, half, Bf16);
            b[2 * c + half][g] = word_half(in[2], half, Bf16);
            b[2 * c + 8 + half][g] = word_half(in[2] >> 32, half, Bf16);
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, c = lane % 4;
        for (int i = 0; i < 4; i++) {
            int row = g + i / 2 * 8, column = 2 * c + i % 2;
            double sum = __uint_as_float(unsigned(lanes[lane]->input[3 + i / 2] >> (32 * (i % 2))));
            for (int k = 0; k < 16; k++) {
                sum += double(a[row][k]) * b[k][column];
            }
            lanes[lane]->output[i] = __float_as_uint(float(sum));
        }
    }
}

unsigned load_word(unsigned long long address) {
    unsigned word;
    std::memcpy(&word, reinterpret_cast<void*>(address), 4);
    return word;
}

unsigned load_half(unsigned long long address) {
    unsigned short half;
    std::memcpy(&half, reinterpret_cast<void*>(address), 2);
    return half;
}

/// Four 8x8 matrices of 2-byte elements; lane 8m + r names row r of matrix m. Lane 4g + c gets elements 2c and 2c+1 of row g, or of column g if transposed.
template <bool Transposed>
void load_matrices(LaneData* lanes[32], unsigned) {
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, c = lane % 4;
        for (int m = 0; m < 4; m++) {
            lanes[lane]->output[m] = Transposed
                ? load_half(lanes[8 * m + 2 * c]->input[0] + 2 * g) | load_half(lanes[8 * m + 2 * c + 1]->input[0] + 2 * g) << 16
                : load_word(lanes[8 * m + g]->input[0] + 4 * c);
        }
    }
}

void transpose_matrix(LaneData* lanes[32], unsigned) {
    unsigned short m[8][8];
    for (int lane = 0; lane < 32; lane++) {
        m[lane / 4][2 * (lane % 4)] = (unsigned short)lanes[lane]->input[0];
        m[lane / 4][2 * (lane % 4) + 1] = (unsigned short)(lanes[lane]->input[0] >> 16);
    }
    for (int lane = 0; lane < 32; lane++) {
        lanes[lane]->output[0] = m[2 * (lane % 4)][lane / 4] | unsigned(m[2 * (lane % 4) + 1][lane / 4]) << 16;
    }
}

/// An element of a matrix in shared memory that a descriptor names, by the PTX manual: the start and the distance of groups of eight rows in units of 16 bytes, pieces of 16 bytes exchanged by
/// bits 7 to 9 of the address.
const unsigned char* group_element(unsigned long long matrix, int row, int k) {
    unsigned start = unsigned(matrix & 0x3fff) << 4, groupBytes = unsigned(matrix >> 32 & 0x3fff) << 4;
    unsigned address = start + unsigned(row / 8) * groupBytes + unsigned(row % 8) * 128 + unsigned(k) * 2;
    return shared_memory + (address ^ (address >> 7 & 7) << 4);
}

float group_number(unsigned long long matrix, int row, int k, bool bf16) {
    unsigned short bits;
    std::memcpy(&bits, group_element(matrix, row, k), 2);
    return bf16 ? from_bf16(bits) : from_f16(bits);
}

/// A warp's part of d [64, 128] = a [64, 16] * b [16, 128] (+ d): its 16 rows.
template <bool Bf16>
void multiply_rows(LaneData* lanes[32], unsigned) {
    auto* in = lanes[0]->input;
    bool accumulate = in[2] != 0;
    int firstRow = int(in[3]);
    float a[16][16], b[128][16];
    for (int k = 0; k < 16; k++) {
        for (int row = 0; row < 16; row++) {
            a[row][k] = group_number(in[0], firstRow + row, k, Bf16);
        }
        for (int column = 0; column < 128; column++) {
            b[column][k] = group_number(in[1], column, k, Bf16);
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, c = lane % 4;
        float* d;
        std::memcpy(&d, &lanes[lane]->input[4], sizeof(d));
        for (int i = 0; i < 64; i++) {
            int row = g + i % 4 / 2 * 8, column = i / 4 * 8 + 2 * c + i % 2;
            double sum = accumulate ? d[i] : 0;
            for (int k = 0; k < 16; k++) {
                sum += double(a[row][k]) * b[column][k];
            }
            d[i] = float(sum);
        }
    }
}

/// What cp.async has been told and not yet done, for each thread of the block: nobody sees it before it was waited for.
struct Copy { void* to; const void* from; int room, bytes; };
std::vector<std::vector<Copy>> g_open[1024];

std::vector<std::vector<Copy>>& own_copies() {
    auto& groups = g_open[current_access().thread];
    if (groups.empty()) {
        groups.emplace_back();
    }
    return groups;
}
}

void multiply_accumulate(float d[4], const unsigned a[4], const unsigned b[2], bool bf16) {
    LaneData& own = lane_data();
    own.input[0] = a[0] | (unsigned long long)a[1] << 32;
    own.input[1] = a[2] | (unsigned long long)a[3] << 32;
    own.input[2] = b[0] | (unsigned long long)b[1] << 32;
    own.input[3] = __float_as_uint(d[0]) | (unsigned long long)__float_as_uint(d[1]) << 32;
    own.input[4] = __float_as_uint(d[2]) | (unsigned long long)__float_as_uint(d[3]) << 32;
    collective(0xffffffffu, bf16 ? multiply<true> : multiply<false>, EMULATION_SITE);
    for (int i = 0; i < 4; i++) {
        d[i] = __uint_as_float(unsigned(own.output[i]));
    }
}

unsigned shared_offset(const void* pointer) { return unsigned(static_cast<const unsigned char*>(pointer) - shared_memory); }

void multiply_group(float d[64], unsigned long long a, unsigned long long b, bool accumulate, bool bf16) {
    // Exchanged over 128 bytes, rows of one group beside each other: what the kernels use.
    if (a >> 62 != 1 || b >> 62 != 1 || (a >> 16 & 0x3fff) != 1) {
        fault("a matrix is described in another way than the emulation knows");
        stop();
    }
    // Each lane looks at a part of what the warp reads.
    int firstRow = int(current_access().thread / 32 % 4) * 16;
    for (int row = lane(); row < 128; row += 32) {
        for (int k = 0; k < 16; k += 8) {
            check_access(const_cast<unsigned char*>(group_element(b, row, k)), 16, false);
            if (row < 16) {
                check_access(const_cast<unsigned char*>(group_element(a, firstRow + row, k)), 16, false);
            }
        }
    }
    LaneData& own = lane_data();
    own.input[0] = a;
    own.input[1] = b;
    own.input[2] = accumulate;
    own.input[3] = unsigned(firstRow);
    float* sums = d;
    std::memcpy(&own.input[4], &sums, sizeof(sums));
    collective(0xffffffffu, bf16 ? multiply_rows<true> : multiply_rows<false>, EMULATION_SITE);
}

void load_matrices_from(unsigned words[4], const void* row, bool transposed) {
    check_access(const_cast<void*>(row), 16, false);
    lane_data().input[0] = reinterpret_cast<unsigned long long>(row);
    collective(0xffffffffu, transposed ? load_matrices<true> : load_matrices<false>, EMULATION_SITE);
    for (int i = 0; i < 4; i++) {
        words[i] = unsigned(lane_data().output[i]);
    }
}

unsigned transpose(unsigned word) {
    lane_data().input[0] = word;
    collective(0xffffffffu, transpose_matrix, EMULATION_SITE);
    return unsigned(lane_data().output[0]);
}

float half_to_float(unsigned short bits) { return from_f16(bits); }
unsigned short float_to_half(float value) { return (unsigned short)to_f16_bits(value); }

/// To the nearest, ties to even.
unsigned short float_to_bf16(float value) {
    unsigned bits = __float_as_uint(value);
    return (unsigned short)(value != value ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void forget_copies() {
    for (auto& groups : g_open) {
        groups.clear();
    }
}

void copy_later(void* to, const void* from, int bytes, bool whole) {
    InRuntime inside;
    if (whole) {
        check_access(const_cast<void*>(from), size_t(bytes), false);
    }
    check_access(to, size_t(bytes), true);
    // Until the copy is waited for, its target holds rubbish.
    std::memset(to, 0xff, size_t(bytes));
    own_copies().back().push_back({to, from, bytes, whole ? bytes : 0});
}

void close_copies() {
    InRuntime inside;
    own_copies().emplace_back();
}

void wait_for_copies(int newestOpen) {
    InRuntime inside;
    auto& groups = own_copies();
    // The last entry is the group that has not been closed.
    size_t done = groups.size() - 1 > size_t(newestOpen) ? groups.size() - 1 - size_t(newestOpen) : 0;
    for (size_t i = 0; i < done; i++) {
        for (const Copy& copy : groups[i]) {
            check_access(copy.to, size_t(copy.room), true);
            std::memset(copy.to, 0, size_t(copy.room));
            std::memcpy(copy.to, copy.from, size_t(copy.bytes));
        }
    }
    groups.erase(groups.begin(), groups.begin() + long(done));
}
}

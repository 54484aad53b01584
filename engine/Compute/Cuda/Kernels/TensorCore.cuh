// The instructions that C++ has no words for. Fragments of 16x8x16 products, by the PTX manual: lane l = 4g + c of a warp holds
//   A [16, 16]: a0 = [g][2c, 2c+1], a1 = [g+8][2c, 2c+1], a2 = [g][2c+8, 2c+9], a3 = [g+8][2c+8, 2c+9]
//   B [16,  8]: b0 = [2c, 2c+1][g], b1 = [2c+8, 2c+9][g]
//   D [16,  8]: d0, d1 = [g][2c, 2c+1], d2, d3 = [g+8][2c, 2c+1]
// A sum over k does not care which k is which, as long as A and B agree: kernels that load 16 bytes a lane give step s of a run of 32 the elements
// {8c + 4s, .. 8c + 4s + 3} of each lane c.
#pragma once

struct bf16 { static constexpr bool Bf16 = true; unsigned short bits; };
struct f16 { static constexpr bool Bf16 = false; unsigned short bits; };

#ifdef SCRIPTEDSERVE_EMULATED
namespace emulation {
void multiply_accumulate(float d[4], const unsigned a[4], const unsigned b[2], bool bf16);
void load_matrices_from(unsigned words[4], const void* row, bool transposed);
unsigned transpose(unsigned word);
float half_to_float(unsigned short bits);
unsigned short float_to_half(float value);
unsigned short float_to_bf16(float value);
void copy_later(void* to, const void* from, int bytes, bool whole);
void close_copies();
void wait_for_copies(int newestOpen);
}

template <typename T> inline void multiply_accumulate(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
template <> inline void multiply_accumulate<bf16>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { emulation::multiply_accumulate(d, a, b, true); }
template <> inline void multiply_accumulate<f16>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { emulation::multiply_accumulate(d, a, b, false); }
inline void load_matrices(unsigned (&words)[4], const void* row) { emulation::load_matrices_from(words, row, false); }
inline void load_matrices_transposed(unsigned (&words)[4], const void* row) { emulation::load_matrices_from(words, row, true); }
inline unsigned transpose_matrix(unsigned word) { return emulation::transpose(word); }
inline float half_to_float(unsigned short bits) { return emulation::half_to_float(bits); }
inline unsigned short float_to_half(float value) { return emulation::float_to_half(value); }
inline unsigned pack_bf16(float first, float second) { return emulation::float_to_bf16(first) | (unsigned)emulation::float_to_bf16(second) << 16; }
inline unsigned pack_f16(float first, float second) { return float_to_half(first) | (unsigned)float_to_half(second) << 16; }
inline void copy_async(void* shared, const void* global, bool whole) { emulation::copy_later(shared, global, 16, whole); }
inline void copy_async_half(void* shared, const void* global, bool whole) { emulation::copy_later(shared, global, 8, whole); }
inline void commit_copies() { emulation::close_copies(); }
template <int NewestOpen> inline void wait_for_copies() { emulation::wait_for_copies(NewestOpen); }
#else
/// d += a * b, f32 sums. T is bf16 or f16.
template <typename T> __device__ __forceinline__ void multiply_accumulate(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);

template <> __device__ __forceinline__ void multiply_accumulate<bf16>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <> __device__ __forceinline__ void multiply_accumulate<f16>(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
    return (unsigned)__cvta_generic_to_shared(pointer);
}

/// Four 8x8 matrices of 2-byte elements in shared memory: lane 8m + r names row r of matrix m (16 bytes, aligned); lane 4g + c gets, for each, elements 2c and 2c+1 of row g.
__device__ __forceinline__ void load_matrices(unsigned (&words)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(shared_address(row)) : "memory");
}

/// As load_matrices, of column g.
__device__ __forceinline__ void load_matrices_transposed(unsigned (&words)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(shared_address(row)) : "memory");
}

/// An 8x8 matrix in the lanes' registers, elements 2c and 2c+1 of row g in lane 4g + c, becomes its transpose.
__device__ __forceinline__ unsigned transpose_matrix(unsigned word) {
    unsigned result;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(word));
    return result;
}

__device__ __forceinline__ float half_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ __forceinline__ unsigned short float_to_half(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

/// Two numbers in a word, the first in its low half, to the nearest, ties to even.
__device__ __forceinline__ unsigned pack_bf16(float first, float second) {
    unsigned word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
    return word;
}

__device__ __forceinline__ unsigned pack_f16(float first, float second) {
    unsigned word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
    return word;
}

/// 16 bytes to shared memory while the thread goes on; zeros if not `whole`. Visible to the thread after wait_for_copies, to others after a barrier more.
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool whole) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(shared_address(shared)), "l"(global), "r"(whole ? 16 : 0) : "memory");
}

/// The same of 8 bytes.
__device__ __forceinline__ void copy_async_half(void* shared, const void* global, bool whole) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" :: "r"(shared_address(shared)), "l"(global), "r"(whole ? 8 : 0) : "memory");
}

/// Closes a group of copies.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most the newest so many groups are open.
template <int NewestOpen> __device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_group %0;" :: "n"(NewestOpen) : "memory"); }
#endif

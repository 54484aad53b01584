// The emulation sees what it is there to see: each kernel here is wrong in one way.
#include "Check.h"
#include "Reduce.cuh"

extern __shared__ unsigned char shared_memory[];

namespace {
template <typename F> std::string faults_of(dim3 block, unsigned sharedBytes, const F& kernel, dim3 grid = {}) {
    return emulation::launch("kernel", grid, block, sharedBytes, emulation::Order::Ascending, kernel);
}

void check_fault(const std::string& faults, const char* words) { check(faults.find(words) != std::string::npos, "expected \"" + std::string(words) + "\", got \"" + faults + "\""); }

float* shared_floats() { return reinterpret_cast<float*>(shared_memory); }
}

CASE("emulation: a read of what another thread wrote needs a barrier") {
    DeviceArray<float> out("out", 64);
    auto kernel = [&](bool barrier) {
        return faults_of({64}, 256, [&out, barrier] {
            shared_floats()[threadIdx.x] = float(threadIdx.x);
            if (barrier) {
                __syncthreads();
            }
            out.get()[threadIdx.x] = shared_floats()[63 - threadIdx.x];
        });
    };
    check(kernel(true).empty(), "a right kernel has no fault");
    check(out[0] == 63 && out[63] == 0, "and does what it says");
    check_fault(kernel(false), "shared memory");
}

CASE("emulation: memory must not be written again before all have read it") {
    DeviceArray<float> out("out", 64);
    check_fault(faults_of({64}, 256, [&] {
        shared_floats()[threadIdx.x] = 1;
        __syncthreads();
        float other = shared_floats()[63 - threadIdx.x];
        shared_floats()[threadIdx.x] = other;
        out.get()[threadIdx.x] = other;
    }), "with no barrier after");
}

CASE("emulation: a warp's barrier orders its lanes and no others") {
    DeviceArray<float> out("out", 64);
    auto kernel = [&](int distance) {
        return faults_of({64}, 256, [&out, distance] {
            shared_floats()[threadIdx.x] = float(threadIdx.x);
            __syncwarp();
            out.get()[threadIdx.x] = shared_floats()[threadIdx.x ^ unsigned(distance)];
        });
    };
    check(kernel(1).empty(), kernel(1));
    check_fault(kernel(32), "with no barrier after");
}

CASE("emulation: a shuffle is no barrier for memory") {
    DeviceArray<float> out("out", 32);
    check_fault(faults_of({32}, 256, [&] {
        shared_floats()[threadIdx.x] = float(threadIdx.x);
        float sum = warp_sum(1.0f);
        out.get()[threadIdx.x] = sum + shared_floats()[31 - threadIdx.x];
    }), "with no barrier after");
}

CASE("emulation: shared memory is not zero at the start") {
    DeviceArray<float> out("out", 32);
    check_fault(faults_of({32}, 256, [&] { out.get()[threadIdx.x] = shared_floats()[threadIdx.x]; }), "nobody has written");
}

CASE("emulation: memory of a kernel before is not that of this block") {
    DeviceArray<float> out("out", 32);
    faults_of({32}, 256, [&] { shared_floats()[threadIdx.x] = 1; });
    check_fault(faults_of({32}, 256, [&] { out.get()[threadIdx.x] = shared_floats()[threadIdx.x]; }), "nobody has written");
}

CASE("emulation: accesses beyond an array are seen") {
    DeviceArray<float> out("out", 31), in("in", std::vector<float>(32, 1.0f));
    check_fault(faults_of({32}, 0, [&] { out.get()[threadIdx.x] = 1; }), "out");
    check_fault(faults_of({32}, 0, [&] { 
        if (threadIdx.x == 31) {
            out.get()[0] = in.get()[threadIdx.x + 1];
        }
    }), "0 behind the end of in");
    check_fault(faults_of({32}, 64, [&] { shared_floats()[threadIdx.x] = 1; }), "shared memory");
}

CASE("emulation: an access that is not aligned is seen") {
    DeviceArray<float> out("out", 32), in("in", std::vector<float>(32, 1.0f));
    check_fault(faults_of({1}, 0, [&] {
        auto words = *reinterpret_cast<const volatile unsigned long long*>(in.get() + 1);
        out.get()[0] = float(words);
    }), "not aligned");
}

CASE("emulation: nothing orders two blocks") {
    DeviceArray<float> out("out", 1);
    check_fault(faults_of({1}, 0, [&] { out.get()[0] = 1; }, {2}), "another block");
}

CASE("emulation: atomics race with nothing but plain accesses") {
    DeviceArray<int> out("out", std::vector<int>(1, 0));
    check(faults_of({64}, 0, [&] { atomicAdd(out.get(), 1); }, {2}).empty(), "adding at the same time is right");
    check(out[0] == 128, "each addition counts");
    check_fault(faults_of({64}, 0, [&] {
        atomicAdd(out.get(), 1);
        if (threadIdx.x == 63) {
            out.get()[0] = 7;
        }
    }), "after atomics");
}

CASE("emulation: a barrier that some threads miss is seen") {
    check_fault(faults_of({64}, 0, [] {
        if (threadIdx.x < 32) {
            __syncthreads();
        } else {
            __syncthreads();
        }
    }), "different barriers");
}

CASE("emulation: a warp operation that some lanes miss is seen") {
    DeviceArray<float> out("out", 32);
    check_fault(faults_of({32}, 0, [&] {
        if (threadIdx.x < 16) {
            out.get()[threadIdx.x] = warp_sum(1.0f);
        }
    }), "never come");
}

CASE("emulation: a copy is not there before it was waited for") {
    DeviceArray<float> in("in", std::vector<float>(4, 1.0f)), out("out", 1);
    auto kernel = [&](bool wait) {
        return faults_of({1}, 16, [&in, &out, wait] {
            copy_async(shared_memory, in.get(), true);
            commit_copies();
            if (wait) {
                wait_for_copies<0>();
            }
            out.get()[0] = shared_floats()[2];
            wait_for_copies<0>();
        });
    };
    check(kernel(true).empty() && out[0] == 1, "waited for, it is there");
    check(kernel(false).empty() && !(out[0] == 1), "not waited for, it is rubbish");
}

CASE("emulation: a copy must not begin before all have read what was there") {
    DeviceArray<float> in("in", std::vector<float>(4, 1.0f)), out("out", 64);
    check_fault(faults_of({64}, 256, [&] {
        shared_floats()[threadIdx.x] = 1;
        __syncthreads();
        unsigned words[4];
        load_matrices(words, shared_memory);
        out.get()[threadIdx.x] = float(words[0]);
        if (threadIdx.x == 0) {
            copy_async(shared_memory, in.get(), true);
        }
        wait_for_copies<0>();
    }), "with no barrier after");
}

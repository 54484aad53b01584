// What the checks of the kernels share: cases by name, arrays that the emulation follows, random numbers by seed.
#pragma once

#include "Emulation/Grid.h"
#include "Numbers.cuh"

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

/// Registers itself; main runs it and prints one line.
struct Case {
    Case(const char* name, void (*body)());
};

#define CASE_NAMED(id, name) \
    static void id(); \
    static const Case id##_case(name, id); \
    static void id()
#define CASE_JOINED(line, name) CASE_NAMED(case_at_##line, name)
#define CASE_AT(line, name) CASE_JOINED(line, name)
#define CASE(name) CASE_AT(__LINE__, name)

/// Ends the case.
[[noreturn]] void fail(const std::string& why);

inline void check(bool condition, const std::string& why) {
    if (!condition) {
        fail(why);
    }
}

/// The difference of a result from its oracle, against what the types and the order of sums explain.
void check_close(const std::string& what, const std::vector<double>& results, const std::vector<double>& expected, double tolerance);

/// A generator of its own for each case: a failure repeats.
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 1) {}
    uint64_t next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_;
    }
    /// In [0, bound).
    int below(int bound) { return int(next() >> 33) % bound; }
    /// In [low, high].
    int between(int low, int high) { return low + below(high - low + 1); }
    double uniform() { return double(next() >> 11) / 9007199254740992.0; }
    /// About normal.
    float normal() { return float((uniform() + uniform() + uniform() + uniform() - 2) * 1.7320508); }

private:
    uint64_t state_;
};

/// Memory that kernels may touch, and nothing beside it.
template <typename T> class DeviceArray {
public:
    /// Reading what no kernel has written is a fault.
    DeviceArray(const char* name, size_t count) : name_(name), count_(count), items_(allocate(count)) { emulation::register_memory(name, items_, count * sizeof(T), false); }
    DeviceArray(const char* name, const std::vector<T>& values) : name_(name), count_(values.size()), items_(allocate(count_)) {
        std::memcpy(static_cast<void*>(items_), values.data(), count_ * sizeof(T));
        emulation::register_memory(name, items_, count_ * sizeof(T), true);
    }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;
    ~DeviceArray() {
        emulation::unregister_memory(items_);
        free(items_);
    }
    T* get() { return items_; }
    T& operator[](size_t i) { return items_[i]; }
    size_t count() const { return count_; }
    std::vector<T> copy() const { return std::vector<T>(items_, items_ + count_); }
    std::vector<double> numbers() const {
        std::vector<double> result(count_);
        for (size_t i = 0; i < count_; i++) {
            result[i] = to_float(items_[i]);
        }
        return result;
    }

private:
    static T* allocate(size_t count) {
        void* memory = nullptr;
        // Not a number in every type.
        if (posix_memalign(&memory, 128, count * sizeof(T) + 128) != 0) {
            fail("no memory");
        }
        std::memset(memory, 0xff, count * sizeof(T));
        return static_cast<T*>(memory);
    }

    const char* name_;
    size_t count_;
    T* items_;
};

template <typename T> std::vector<T> random_values(Random& random, size_t count, float scale = 1) {
    std::vector<T> values(count);
    for (auto& value : values) {
        value = from_float<T>(random.normal() * scale);
    }
    return values;
}

template <typename T> std::vector<double> numbers_of(const std::vector<T>& values) {
    std::vector<double> result;
    for (const auto& value : values) {
        result.push_back(to_float(value));
    }
    return result;
}

/// Relative error of one rounding to T, and room for sums in f32.
template <typename T> double rounding();
template <> inline double rounding<float>() { return 2e-6; }
template <> inline double rounding<f16>() { return 1e-3; }
template <> inline double rounding<bf16>() { return 8e-3; }

/// Launches in every order of threads, one after the other, with `prepare` before each; every launch must be without faults and `result` the same, bit for bit.
template <typename T, typename F>
void launch_in_all_orders(
    const char* name, dim3 grid, dim3 block, unsigned sharedBytes, DeviceArray<T>& result, const F& kernel, const std::function<void()>& prepare = [] {}) {
    std::vector<T> first;
    for (auto order : {emulation::Order::Ascending, emulation::Order::Shuffled}) {
        prepare();
        std::string faults = emulation::launch(name, grid, block, sharedBytes, order, kernel);
        check(faults.empty(), faults);
        auto now = result.copy();
        if (order == emulation::Order::Ascending) {
            first = now;
        }
        check(std::memcmp(first.data(), now.data(), now.size() * sizeof(T)) == 0, std::string(name) + ": the order of the threads shows in the result");
    }
}

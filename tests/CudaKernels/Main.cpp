// Runs the cases whose name begins with the argument (all without one), a line each; ends with 1 if any failed.
#include "Check.h"

#include <algorithm>
#include <cmath>
#include <csetjmp>

namespace {
struct Entry { const char* name; void (*body)(); };
std::vector<Entry>& cases() {
    static std::vector<Entry> all;
    return all;
}
struct Failure { std::string why; };
}

Case::Case(const char* name, void (*body)()) { cases().push_back({name, body}); }

void fail(const std::string& why) { throw Failure{why}; }

void check_close(const std::string& what, const std::vector<double>& results, const std::vector<double>& expected, double tolerance) {
    check(results.size() == expected.size(), what + ": " + std::to_string(results.size()) + " results, " + std::to_string(expected.size()) + " expected");
    double scale = 0;
    for (double value : expected) {
        scale = std::max(scale, std::fabs(value));
    }
    for (size_t i = 0; i < results.size(); i++) {
        double allowed = tolerance * (std::fabs(expected[i]) + 0.1 * scale) + 1e-30;
        if (!(std::fabs(results[i] - expected[i]) <= allowed)) {
            fail(what + ": element " + std::to_string(i) + " is " + std::to_string(results[i]) + ", expected " + std::to_string(expected[i]));
        }
    }
}

int main(int count, char** arguments) {
    std::string wanted = count > 1 ? arguments[1] : "";
    int ran = 0, failed = 0;
    std::sort(cases().begin(), cases().end(), [](const Entry& a, const Entry& b) { return std::strcmp(a.name, b.name) < 0; });
    for (const auto& entry : cases()) {
        if (std::string(entry.name).compare(0, wanted.size(), wanted) != 0) {
            continue;
        }
        ran++;
        try {
            entry.body();
            std::printf("ok %s\n", entry.name);
        } catch (const Failure& failure) {
            failed++;
            std::printf("FAILED %s: %s\n", entry.name, failure.why.c_str());
        }
    }
    std::printf("%d ran, %d failed\n", ran, failed);
    return failed > 0 || ran == 0 ? 1 : 0;
}

// Sampling on the device against the rules of Sampling/Sampler.cs, written plainly: sort everything, cut, draw.
#include "Check.h"
#include "Sample.cu"

#include <algorithm>
#include <numeric>

namespace {
struct Request {
    SampleRow row{};
    std::vector<Adjustment> biases, masks;
    std::vector<unsigned> counts;  // empty: no penalties
    std::vector<float> logits;
};

SampleRow plain(float temperature) {
    SampleRow row{};
    row.temperature = temperature;
    row.topP = 1;
    row.repetition = 1;
    row.seat = -1;
    row.logprobs = -1;
    return row;
}

std::vector<float> adjusted(const Request& request) {
    auto scores = request.logits;
    const auto& row = request.row;
    for (size_t i = 0; i < request.counts.size(); i++) {
        if (request.counts[i] != 0) {
            float& score = scores[i];
            score = score > 0 ? score / row.repetition : score * row.repetition;
            score = std::fmin(std::fmax(score, -3.40282347e38f), 3.40282347e38f);
            if (request.counts[i] >> 1 > 0) {
                score -= row.presence + row.frequency * float(request.counts[i] >> 1);
            }
        }
    }
    for (const auto& bias : request.biases) {
        scores[size_t(bias.token)] += bias.bias;
    }
    for (const auto& mask : request.masks) {
        scores[size_t(mask.token)] = -INFINITY;
    }
    return scores;
}

/// The tokens that a choice is made among, by id, with their weights in units.
std::vector<std::pair<int, unsigned long long>> kept_tokens(const SampleRow& row, const std::vector<float>& scores) {
    std::vector<int> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return scores[size_t(a)] > scores[size_t(b)]; });
    float largest = scores[size_t(order[0])];
    auto weight = [&](int token) { return expf((scores[size_t(token)] - largest) / row.temperature); };
    auto units = [&](int token) { return (unsigned long long)(double(weight(token)) * WeightUnits); };
    if (row.topK > 0 && size_t(row.topK) < order.size()) {
        order.resize(size_t(row.topK));
    }
    if (row.topP < 1) {
        unsigned long long total = 0, sum = 0;
        for (int token : order) {
            total += units(token);
        }
        auto target = std::max(1ull, (unsigned long long)std::ceil(double(row.topP) * double(total)));
        size_t size = 0;
        while (sum < target) {
            sum += units(order[size++]);
        }
        order.resize(size);
    }
    std::sort(order.begin(), order.end());
    std::vector<std::pair<int, unsigned long long>> kept;
    for (int token : order) {
        if (weight(token) >= row.minP) {
            kept.push_back({token, units(token)});
        }
    }
    return kept;
}

int oracle(const Request& request) {
    auto scores = adjusted(request);
    if (request.row.temperature == 0) {
        return int(std::max_element(scores.begin(), scores.end()) - scores.begin());
    }
    auto kept = kept_tokens(request.row, scores);
    unsigned long long total = 0, sum = 0;
    for (auto& token : kept) {
        total += token.second;
    }
    auto target = std::min((unsigned long long)(counter_uniform(request.row.seed, request.row.position) * double(total)), total - 1);
    for (auto& token : kept) {
        sum += token.second;
        if (sum > target) {
            return token.first;
        }
    }
    return -2;
}

struct Outcome { std::vector<SampleResult> results; std::vector<int> tokens; std::vector<unsigned> counts; };

Outcome sample(std::vector<Request> requests) {
    int vocab = int(requests[0].logits.size()), seats = 0;
    std::vector<float> logits;
    std::vector<SampleRow> rows;
    std::vector<Adjustment> adjustments = {{0, 0}};
    std::vector<unsigned> counts(size_t(vocab), 0xdead0000u);  // a seat that is nobody's
    for (auto& request : requests) {
        logits.insert(logits.end(), request.logits.begin(), request.logits.end());
        request.row.biasBegin = int(adjustments.size());
        adjustments.insert(adjustments.end(), request.biases.begin(), request.biases.end());
        request.row.biasEnd = request.row.maskBegin = int(adjustments.size());
        adjustments.insert(adjustments.end(), request.masks.begin(), request.masks.end());
        request.row.maskEnd = int(adjustments.size());
        if (!request.counts.empty()) {
            request.row.seat = ++seats;
            counts.insert(counts.end(), request.counts.begin(), request.counts.end());
        }
        rows.push_back(request.row);
    }
    unsigned grid = unsigned(requests.size());
    DeviceArray<float> logitArray("logits", logits), scores("scores", logits.size());
    DeviceArray<SampleRow> rowArray("rows", rows);
    DeviceArray<Adjustment> adjustmentArray("adjustments", adjustments);
    DeviceArray<unsigned> countArray("counts", counts);
    DeviceArray<SampleResult> results("results", std::vector<SampleResult>(requests.size()));
    DeviceArray<int> tokens("tokens", requests.size());
    launch_in_all_orders("adjust_scores", {grid}, {SampleThreads}, MaxWarps * sizeof(int), scores, [&] {
        adjust_scores(scores.get(), results.get(), logitArray.get(), rowArray.get(), adjustmentArray.get(), countArray.get(), vocab);
    });
    launch_in_all_orders("sample_tokens", {grid}, {SampleThreads}, sizeof(SampleShared), results, [&] {
        sample_tokens(results.get(), tokens.get(), scores.get(), logitArray.get(), rowArray.get(), countArray.get(), vocab);
    }, [&] { std::copy(counts.begin(), counts.end(), countArray.get()); });
    return {results.copy(), tokens.copy(), countArray.copy()};
}

/// Logits with many equal values, so that ties are common.
Request random_request(Random& random, int vocab) {
    Request request;
    bool coarse = random.below(2) == 0;
    for (int i = 0; i < vocab; i++) {
        float value = random.normal() * 4;
        request.logits.push_back(coarse ? std::round(value) : value);
    }
    request.row = plain(random.below(6) == 0 ? 0 : float(0.2 + 1.5 * random.uniform()));
    request.row.seed = random.next();
    request.row.position = random.below(1 << 20);
    request.row.topK = random.below(2) == 0 ? 0 : random.between(1, vocab + 5);
    request.row.topP = random.below(2) == 0 ? 1 : float(random.uniform());
    request.row.minP = random.below(3) == 0 ? float(random.uniform() * 0.3) : 0;
    if (random.below(2) == 0) {
        request.row.repetition = float(0.5 + random.uniform());
        request.row.presence = random.normal();
        request.row.frequency = random.normal();
        for (int i = 0; i < vocab; i++) {
            request.counts.push_back(random.below(3) == 0 ? 1 + 2 * unsigned(random.below(4)) : 0);
        }
    }
    int biases = random.below(4), masks = random.below(3);
    for (int i = 0; i < biases && i * 7 + 3 < vocab; i++) {
        request.biases.push_back({i * 7 + 3, random.normal() * 5});
    }
    for (int i = 0; i < masks && i + 1 < vocab; i++) {
        request.masks.push_back({i, 0});
    }
    return request;
}
}

CASE("sampling: random numbers are those of the CPU") {
    // CounterRandom.Uniform(seed, position) of the engine.
    check(counter_uniform(0, 0) == 0x1.c2d38b1acc4fdp-1, "seed 0, position 0");
    check(counter_uniform(1234567890123456789ull, 77) == 0x1.6b25c8d6c69fcp-1, "a large seed");
}

CASE("sampling: the same token as the plain definition") {
    Random random(1);
    for (int round = 0; round < 8; round++) {
        int vocab = round == 0 ? 1 : round == 1 ? 33 : random.between(100, 3000);
        std::vector<Request> requests;
        for (int i = 0; i < 4; i++) {
            requests.push_back(random_request(random, vocab));
        }
        auto outcome = sample(requests);
        size_t seat = 0;
        for (size_t i = 0; i < requests.size(); i++) {
            int expected = oracle(requests[i]);
            check(outcome.results[i].token == expected && outcome.tokens[i] == expected,
                "round " + std::to_string(round) + ", row " + std::to_string(i) + ": token " + std::to_string(outcome.results[i].token) + ", expected " + std::to_string(expected));
            check(outcome.results[i].badToken == -1 && outcome.results[i].topCount == 0, "nothing else is told");
            if (!requests[i].counts.empty()) {
                requests[i].counts[size_t(expected)] = (requests[i].counts[size_t(expected)] | 1) + 2;
                seat++;
                for (int t = 0; t < vocab; t++) {
                    check(outcome.counts[seat * size_t(vocab) + size_t(t)] == requests[i].counts[size_t(t)], "counts take note of the chosen token");
                }
            }
        }
    }
}

CASE("sampling: equal logits are told apart by id, zeros of both signs are equal") {
    Request request;
    request.logits = {-0.0f, 0.0f, -1, 0.0f, -0.0f, 0.0f};
    request.row = plain(0);
    check(sample({request}).results[0].token == 0, "greedy takes the first");
    request.row = plain(1);
    request.row.topK = 2;
    for (int position = 0; position < 20; position++) {
        request.row.position = position;
        int token = sample({request}).results[0].token;
        check(token == oracle(request) && token < 2, "top_k takes the first two");
    }
}

CASE("sampling: log-probabilities are those of the raw logits") {
    Random random(3);
    Request request = random_request(random, 500);
    request.row.logprobs = 7;
    auto result = sample({request}).results[0];
    double sum = 0;
    for (float logit : request.logits) {
        sum += std::exp(double(logit));
    }
    std::vector<int> order(500);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return request.logits[size_t(a)] > request.logits[size_t(b)]; });
    check(result.topCount == 7, "as many as asked for");
    check(std::fabs(result.logprob - (request.logits[size_t(result.token)] - std::log(sum))) < 1e-5, "the chosen token's");
    for (size_t i = 0; i < 7; i++) {
        check(result.topIds[i] == order[i], "the likeliest, likeliest first, equal ones by id");
        check(std::fabs(result.topLogprobs[i] - (request.logits[size_t(order[i])] - std::log(sum))) < 1e-5, "their log-probabilities");
    }
}

CASE("sampling: logits that are not finite give no token") {
    Random random(4);
    Request fine = random_request(random, 200), bad = random_request(random, 200);
    bad.logits[150] = NAN;
    bad.logits[90] = INFINITY;
    bad.row.logprobs = 3;
    auto outcome = sample({bad, fine});
    check(outcome.results[0].token == -1 && outcome.results[0].badToken == 90, "the first is named");
    check(outcome.results[1].token == oracle(fine), "the other row is served");
}

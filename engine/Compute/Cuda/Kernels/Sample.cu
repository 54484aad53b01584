// Chooses a token for each row of logits, by the rules of Sampling/Sampler.cs. Weights are summed as whole numbers of 2^-40, so that the sums do not depend on the order
// in which thousands of threads add: the same logits give the same token in every launch. The CPU sums in f64, so the two may choose differently where
// the random number falls within 2^-40 of the vocabulary's size from the border between two tokens.
#include "CounterRandom.cuh"
#include "Reduce.cuh"

extern __shared__ __align__(16) unsigned char shared_memory[];

constexpr int SampleThreads = 1024;
constexpr int SampleWarps = SampleThreads / WarpSize;
constexpr int MaxTopLogprobs = 20;
constexpr int SelectBins = 256;
constexpr double WeightUnits = 1099511627776.0;

/// How one row is sampled. Ranges index `adjustments`.
struct SampleRow {
    unsigned long long seed;
    float temperature, topP, minP;
    int topK;                  // 0: all
    float repetition, presence, frequency;
    int seat;                  // row of `counts`; below 0: no penalty is in force
    int biasBegin, biasEnd;    // added to the score
    int maskBegin, maskEnd;    // not to be chosen
    int position;
    int logprobs;              // below 0: none; else of how many of the likeliest
};

struct Adjustment { int token; float bias; };

struct SampleResult {
    int token;                 // below 0: none, for logits are not finite
    int badToken;              // the first whose logit is not, or -1
    float logprob;
    int topCount;
    int topIds[MaxTopLogprobs];
    float topLogprobs[MaxTopLogprobs];
};

/// scores [rows, vocab] = logits with penalties, biases and masks; results[row].badToken. counts [seats, vocab]: bit 0: seen; above it, times generated.
/// Grid: rows; block: SampleThreads; shared memory: MaxWarps ints.
__global__ void __launch_bounds__(SampleThreads) adjust_scores(
    float* scores, SampleResult* results, const float* logits, const SampleRow* rows, const Adjustment* adjustments, const unsigned* counts, int vocab) {
    SampleRow own = rows[blockIdx.x];
    float* row = scores + (size_t)blockIdx.x * vocab;
    const float* raw = logits + (size_t)blockIdx.x * vocab;
    int bad = vocab;
    for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
        float score = raw[i];
        if (!(fabsf(score) < infinity())) {
            bad = min(bad, i);
        }
        unsigned seen = own.seat < 0 ? 0u : counts[(size_t)own.seat * vocab + i];
        if (seen != 0) {
            score = score > 0 ? score / own.repetition : score * own.repetition;
            score = fminf(fmaxf(score, -3.40282347e38f), 3.40282347e38f);
            unsigned times = seen >> 1;
            if (times > 0) {
                score -= own.presence + own.frequency * times;
            }
        }
        row[i] = score;
    }
    int* scratch = reinterpret_cast<int*>(shared_memory);
    for (int with = 16; with > 0; with /= 2) {
        bad = min(bad, __shfl_xor_sync(AllLanes, bad, with));
    }
    if (threadIdx.x % WarpSize == 0) {
        scratch[threadIdx.x / WarpSize] = bad;
    }
    __syncthreads();
    for (int i = own.biasBegin + threadIdx.x; i < own.biasEnd; i += blockDim.x) {
        row[adjustments[i].token] += adjustments[i].bias;
    }
    __syncthreads();
    for (int i = own.maskBegin + threadIdx.x; i < own.maskEnd; i += blockDim.x) {
        row[adjustments[i].token] = -infinity();
    }
    if (threadIdx.x == 0) {
        for (int i = 0; i < (int)blockDim.x / WarpSize; i++) {
            bad = min(bad, scratch[i]);
        }
        results[blockIdx.x].badToken = bad < vocab ? bad : -1;
    }
}

/// Bits that order as the numbers do; both zeros are one.
__device__ __forceinline__ unsigned order_of(float score) {
    unsigned bits = __float_as_uint(score + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/// Which of the block's tokens are considered: those of an order above `last`, and of that order the first `ties` by id.
struct Kept {
    unsigned last;
    unsigned long long ties;
};

struct SampleShared {
    unsigned long long bins[SelectBins];
    unsigned long long sums[MaxWarps], ties[MaxWarps];
    Candidate best[MaxWarps];
    double exponentials[MaxWarps];
    unsigned long long remaining;
    int bin, chosen;
};

/// One row of scores and what of it is asked again and again.
struct Scores {
    const float* values;
    int count;
    float largest, temperature;

    __device__ __forceinline__ float weight(float score) const { return expf((score - largest) / temperature); }
    __device__ __forceinline__ unsigned long long units(float score) const { return (unsigned long long)(weight(score) * WeightUnits); }
    /// A first division of the scores by their distance from the largest, which spreads them better than their bits do.
    __device__ __forceinline__ int bin(float score) const { return (int)fminf((largest - score) * 8, SelectBins - 1.0f); }
};

/// The fewest of the largest scores that reach `target`, counted in tokens, or in units of weight if ByWeight. target is at least 1 and can be reached.
template <bool ByWeight>
__device__ __forceinline__ Kept select(SampleShared& shared, Scores scores, unsigned long long target) {
    unsigned prefix = 0;
    int bin = 0;
    // Pass 0 finds the distance's bin, passes 1 to 4 a byte each of the order, from the top.
    for (int pass = 0; pass <= 4; pass++) {
        int shift = 32 - 8 * pass;
        __syncthreads();
        for (int i = threadIdx.x; i < SelectBins; i += blockDim.x) {
            shared.bins[i] = 0;
        }
        __syncthreads();
        for (int i = threadIdx.x; i < scores.count; i += blockDim.x) {
            float score = scores.values[i];
            unsigned order = order_of(score);
            int own = scores.bin(score);
            // The order's bytes above this pass's.
            bool considered = pass == 0 || (own == bin && (pass == 1 || order >> (shift + 8) == prefix));
            if (considered) {
                // Bin 0 holds the largest in every pass.
                atomicAdd(&shared.bins[pass == 0 ? own : 255 - (order >> shift & 255)], ByWeight ? scores.units(score) : 1ull);
            }
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            int i = 0;
            while (i < SelectBins - 1 && shared.bins[i] < target) {
                target -= shared.bins[i++];
            }
            shared.bin = i;
            shared.remaining = target;
        }
        __syncthreads();
        target = shared.remaining;
        if (pass == 0) {
            bin = shared.bin;
        } else {
            prefix = prefix << 8 | (255 - (unsigned)shared.bin);
        }
    }
    if (!ByWeight) {
        return {prefix, target};
    }
    float score = __uint_as_float(prefix & 0x80000000u ? prefix & 0x7fffffffu : ~prefix);
    unsigned long long each = scores.units(score);
    return {prefix, (target + each - 1) / each};
}

/// A warp's run of tokens: units of weight above the last order, and how many are of that order.
struct Segment {
    int begin, end;
};

__device__ __forceinline__ Segment own_segment(int count) {
    int each = (count + SampleWarps * WarpSize - 1) / (SampleWarps * WarpSize) * WarpSize, warp = threadIdx.x / WarpSize;
    return {min(count, warp * each), min(count, (warp + 1) * each)};
}

/// Draws one of the kept tokens by their weights, walking them by id.
__device__ __forceinline__ int draw(SampleShared& shared, Scores scores, Kept kept, float minP, double uniform) {
    Segment segment = own_segment(scores.count);
    int lane = threadIdx.x % WarpSize, warp = threadIdx.x / WarpSize;
    unsigned long long above = 0, ties = 0, each = 0;
    for (int i = segment.begin + lane; i < segment.end; i += WarpSize) {
        float score = scores.values[i];
        unsigned order = order_of(score);
        bool heavy = scores.weight(score) >= minP;
        above += order > kept.last && heavy ? scores.units(score) : 0;
        ties += order == kept.last && heavy ? 1 : 0;
    }
    above = warp_sum(above);
    ties = warp_sum(ties);
    __syncthreads();
    if (lane == 0) {
        shared.sums[warp] = above;
        shared.ties[warp] = ties;
    }
    if (threadIdx.x == 0) {
        shared.chosen = -1;
    }
    __syncthreads();
    float lastScore = __uint_as_float(kept.last & 0x80000000u ? kept.last & 0x7fffffffu : ~kept.last);
    each = scores.units(lastScore);

    unsigned long long total = 0, before = 0, tiesBefore = 0, tiesLeft = kept.ties, ownTies = 0;
    for (int i = 0; i < SampleWarps; i++) {
        unsigned long long taken = min(shared.ties[i], tiesLeft);
        if (i == warp) {
            before = total;
            ownTies = taken;
        }
        tiesLeft -= taken;
        total += shared.sums[i] + taken * each;
    }
    unsigned long long target = min((unsigned long long)(uniform * (double)total), total - 1);
    if (target < before || target >= before + above + ownTies * each) {
        before = ~0ull;  // another warp's
    }
    for (int first = segment.begin; before != ~0ull && first < segment.end; first += WarpSize) {
        int i = first + lane;
        float score = i < segment.end ? scores.values[i] : -infinity();
        unsigned order = order_of(score);
        bool heavy = i < segment.end && scores.weight(score) >= minP;
        unsigned tied = __ballot_sync(AllLanes, heavy && order == kept.last);
        bool within = tiesBefore + __popc(tied & ((1u << lane) - 1)) < ownTies;
        unsigned long long own = heavy && (order > kept.last || (order == kept.last && within)) ? scores.units(score) : 0;
        unsigned long long sum = own;
        for (int by = 1; by < WarpSize; by *= 2) {
            unsigned long long lower = __shfl_up_sync(AllLanes, sum, by);
            sum += lane >= by ? lower : 0;
        }
        if (own > 0 && before + sum - own <= target && target < before + sum) {
            shared.chosen = i;
        }
        tiesBefore += __popc(tied);
        before += __shfl_sync(AllLanes, sum, WarpSize - 1);
    }
    __syncthreads();
    return shared.chosen;
}

__device__ __forceinline__ int choose_token(SampleShared& shared, SampleRow own, Scores scores, int best) {
    if (own.temperature == 0) {
        return best;
    }
    Kept kept = {0, 0};
    int topK = own.topK == 0 ? scores.count : min(own.topK, scores.count);
    if (topK < scores.count) {
        kept = select<false>(shared, scores, topK);
    }
    if (own.topP < 1) {
        // The weight of those that top_k keeps: all above the last order, and its ties.
        unsigned long long sum = 0;
        for (int i = threadIdx.x; i < scores.count; i += blockDim.x) {
            float score = scores.values[i];
            unsigned order = order_of(score);
            sum += topK == scores.count || order > kept.last ? scores.units(score) : 0;
        }
        __syncthreads();
        sum = block_sum(sum, shared.sums);
        float lastScore = __uint_as_float(kept.last & 0x80000000u ? kept.last & 0x7fffffffu : ~kept.last);
        sum += topK == scores.count ? 0 : kept.ties * scores.units(lastScore);
        kept = select<true>(shared, scores, max(1ull, (unsigned long long)ceil((double)own.topP * (double)sum)));
    }
    return draw(shared, scores, kept, own.minP, counter_uniform(own.seed, own.position));
}

/// The raw log-probability of the chosen token and the likeliest ones.
__device__ __forceinline__ void write_logprobs(SampleShared& shared, SampleResult* result, const float* logits, int vocab, int token, int top) {
    Candidate best = {-infinity(), vocab};
    for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
        best = better(best, Candidate{logits[i], i});
    }
    __syncthreads();
    best = block_best(best, shared.best);
    double sum = 0;
    for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
        sum += exp((double)logits[i] - best.value);
    }
    double normaliser = best.value + log(block_sum(sum, shared.exponentials));
    if (threadIdx.x == 0) {
        result->logprob = (float)(logits[token] - normaliser);
    }
    for (int n = 0; n < min(top, vocab); n++) {
        if (threadIdx.x == 0) {
            result->topIds[n] = best.index;
            result->topLogprobs[n] = (float)(best.value - normaliser);
        }
        Candidate next = {-infinity(), vocab};
        for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
            Candidate candidate = {logits[i], i};
            bool after = candidate.value < best.value || (candidate.value == best.value && i > best.index);
            next = after ? better(next, candidate) : next;
        }
        __syncthreads();
        best = block_best(next, shared.best);
    }
}

/// results [rows] of scores as adjust_scores left them; `counts` takes note of the chosen token. Grid: rows; block: SampleThreads; shared memory: SampleShared.
__global__ void __launch_bounds__(SampleThreads) sample_tokens(
    SampleResult* results, int* tokens, const float* scores, const float* logits, const SampleRow* rows, unsigned* counts, int vocab) {
    SampleShared& shared = *reinterpret_cast<SampleShared*>(shared_memory);
    SampleRow own = rows[blockIdx.x];
    SampleResult* result = results + blockIdx.x;
    if (result->badToken >= 0) {
        if (threadIdx.x == 0) {
            result->token = -1;
            tokens[blockIdx.x] = 0;
        }
        return;
    }
    Scores row = {scores + (size_t)blockIdx.x * vocab, vocab, 0, own.temperature};
    Candidate best = {-infinity(), vocab};
    for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
        best = better(best, Candidate{row.values[i], i});
    }
    best = block_best(best, shared.best);
    row.largest = best.value;
    int token = choose_token(shared, own, row, best.index);
    if (threadIdx.x == 0) {
        result->token = token;
        result->topCount = max(0, min(own.logprobs, vocab));
        // What the next step computes, without a way over the host.
        tokens[blockIdx.x] = token;
        if (own.seat >= 0) {
            unsigned* seen = counts + (size_t)own.seat * vocab + token;
            *seen = (*seen | 1u) + 2;
        }
    }
    if (own.logprobs >= 0) {
        write_logprobs(shared, result, logits + (size_t)blockIdx.x * vocab, vocab, token, own.logprobs);
    }
}

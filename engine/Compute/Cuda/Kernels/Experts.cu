// Which experts the rows of a step go to, and the sum of what these make of them. Nothing here depends on the other rows of the step but the order of slots in the list, which no sum
// depends on; nothing goes over the host, so that a step of experts can be recorded.
#include "Numbers.cuh"
#include "ProductRows.cuh"
#include "Reduce.cuh"

extern __shared__ __align__(16) unsigned char shared_memory[];

constexpr int SortThreads = 1024;

/// Shared memory of route_experts and of sort_slots.
__host__ __device__ constexpr int route_shared_bytes(int chosen) { return chosen * 8; }
__host__ __device__ constexpr int sort_shared_bytes(int experts) { return experts * 8; }

/// The router's output for an expert; logits have `parts` runs of [experts] that are summed. What is no number is chosen last.
__device__ __forceinline__ float route_logit(const float* logits, int experts, int parts, int expert) {
    float sum = logits[expert];
    for (int part = 1; part < parts; part++) {
        sum += logits[part * experts + expert];
    }
    return sum == sum ? sum : -infinity();
}

/// experts and weights [rows, chosen]: those of the largest logits, of equal ones the first, by ascending number, and their share of the softmax, over all experts or over the chosen ones.
/// Rows whose KV slot is below 0 are padding and go to no expert: -1. Grid: rows; block: a warp; shared memory: route_shared_bytes.
__global__ void __launch_bounds__(WarpSize) route_experts(
    int* expertsOut, float* weights, const float* logits, const int* kvSlots, int experts, int parts, int chosen, int renormalized) {
    int lane = threadIdx.x, row = blockIdx.x;
    int* ownExperts = expertsOut + (size_t)row * chosen;
    float* ownWeights = weights + (size_t)row * chosen;
    if (kvSlots[row] < 0) {
        for (int i = lane; i < chosen; i += WarpSize) {
            ownExperts[i] = -1;
            ownWeights[i] = 0;
        }
        return;
    }
    const float* own = logits + (size_t)row * experts * parts;
    int* found = reinterpret_cast<int*>(shared_memory);
    float* exponentials = reinterpret_cast<float*>(found + chosen);
    Candidate last = {infinity(), -1};
    float largest = 0;
    for (int choice = 0; choice < chosen; choice++) {
        Candidate next = {-infinity(), experts};
        for (int i = lane; i < experts; i += WarpSize) {
            Candidate candidate = {route_logit(own, experts, parts, i), i};
            bool after = candidate.value < last.value || (candidate.value == last.value && i > last.index);
            next = after ? better(next, candidate) : next;
        }
        for (int with = 16; with > 0; with /= 2) {
            next = better(next, Candidate{__shfl_xor_sync(AllLanes, next.value, with), __shfl_xor_sync(AllLanes, next.index, with)});
        }
        last = next;
        largest = choice == 0 ? (next.value == -infinity() ? 0.0f : next.value) : largest;
        if (lane == 0) {
            // By ascending number.
            int place = choice;
            for (; place > 0 && found[place - 1] > next.index; place--) {
                found[place] = found[place - 1];
            }
            found[place] = next.index;
        }
    }
    __syncwarp();
    float all = 0;
    for (int i = lane; i < experts; i += WarpSize) {
        all += expf(route_logit(own, experts, parts, i) - largest);
    }
    all = warp_sum(all);
    for (int i = lane; i < chosen; i += WarpSize) {
        exponentials[i] = expf(route_logit(own, experts, parts, found[i]) - largest);
    }
    __syncwarp();
    if (renormalized != 0) {
        all = 0;
        for (int i = 0; i < chosen; i++) {
            all += exponentials[i];
        }
    }
    for (int i = lane; i < chosen; i += WarpSize) {
        ownExperts[i] = found[i];
        ownWeights[i] = exponentials[i] / all;
    }
}

/// Sorts slots by expert: `slots` lists those of the first expert, then those of the next; tiles [tileCount] are runs of at most tileSlots of one expert, by ascending expert, and then
/// unused ones. chosenExperts [slotCount] may be below 0: in no tile. Grid: 1; block: SortThreads; shared memory: sort_shared_bytes.
__global__ void __launch_bounds__(SortThreads) sort_slots(ExpertTile* tiles, int* slots, const int* chosenExperts, int slotCount, int experts, int tileCount, int tileSlots) {
    int* counts = reinterpret_cast<int*>(shared_memory);
    int* begins = counts + experts;
    for (int expert = threadIdx.x; expert < experts; expert += blockDim.x) {
        counts[expert] = 0;
    }
    __syncthreads();
    for (int slot = threadIdx.x; slot < slotCount; slot += blockDim.x) {
        int expert = chosenExperts[slot];
        if (expert >= 0) {
            atomicAdd(&counts[expert], 1);
        }
    }
    __syncthreads();
    if (threadIdx.x < WarpSize) {
        // A lane has a run of experts.
        int lane = threadIdx.x, each = (experts + WarpSize - 1) / WarpSize, end = min(experts, (lane + 1) * each);
        int ownSlots = 0, ownTiles = 0;
        for (int expert = lane * each; expert < end; expert++) {
            ownSlots += counts[expert];
            ownTiles += (counts[expert] + tileSlots - 1) / tileSlots;
        }
        int slotsBefore = ownSlots, tilesBefore = ownTiles;
        for (int by = 1; by < WarpSize; by *= 2) {
            int lowerSlots = __shfl_up_sync(AllLanes, slotsBefore, by), lowerTiles = __shfl_up_sync(AllLanes, tilesBefore, by);
            slotsBefore += lane >= by ? lowerSlots : 0;
            tilesBefore += lane >= by ? lowerTiles : 0;
        }
        int used = __shfl_sync(AllLanes, tilesBefore, WarpSize - 1), slot = slotsBefore - ownSlots, tile = tilesBefore - ownTiles;
        for (int expert = lane * each; expert < end; expert++) {
            begins[expert] = slot;
            for (int done = 0; done < counts[expert]; done += tileSlots) {
                tiles[tile++] = {expert, slot + done, min(tileSlots, counts[expert] - done)};
            }
            slot += counts[expert];
        }
        for (int unused = used + lane; unused < tileCount; unused += WarpSize) {
            tiles[unused] = {-1, 0, 0};
        }
    }
    __syncthreads();
    for (int slot = threadIdx.x; slot < slotCount; slot += blockDim.x) {
        int expert = chosenExperts[slot];
        if (expert >= 0) {
            slots[atomicAdd(&begins[expert], 1)] = slot;
        }
    }
}

/// outputs [rows, hidden]: the sum of what a row's experts made of it, [rows * chosen, hidden], by their weights and ascending number; zeros for padding. Grid: (rows, ceil(hidden / block)).
__global__ void mix_experts(float* outputs, const float* made, const int* chosenExperts, const float* weights, int chosen, int hidden) {
    int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= hidden) {
        return;
    }
    float sum = 0;
    for (int choice = 0; choice < chosen; choice++) {
        size_t slot = (size_t)blockIdx.x * chosen + choice;
        if (chosenExperts[slot] >= 0) {
            sum = fmaf(weights[slot], made[slot * hidden + i], sum);
        }
    }
    outputs[(size_t)blockIdx.x * hidden + i] = sum;
}

// Which rows a block of a product has: those beside each other, or those of a step that go to one expert.
#pragma once

/// Rows [first, count) of inputs and outputs.
struct DenseRows {
    int first, count;

    /// The row of the inputs that is row i of the block, or -1.
    __device__ __forceinline__ int input(int i) const { return first + i < count ? first + i : -1; }
    __device__ __forceinline__ int output(int i) const { return first + i; }
};

/// A run of slots that go to one expert: [first, first + count) of the list that sort_slots leaves. Below 0: the tile is not used.
struct ExpertTile { int expert, first, count; };

/// The slots of a tile. A slot is a row at one of its experts, row * chosen + choice; inputs have a row for each `each` slots, outputs one a slot.
struct ExpertRows {
    const int* slots;
    int count, each;

    __device__ __forceinline__ int input(int i) const { return i < count ? slots[i] / each : -1; }
    __device__ __forceinline__ int output(int i) const { return slots[i]; }
};

namespace ScriptedServe.Engine.Compute.Kernels;

/// <summary>
/// A vector width that the matrix kernels are compiled for. Every operation works on each lane alone and rounds as IEEE 754 says, so
/// a kernel whose outputs lie in lanes gives the same bits at every width.
/// </summary>
/// <typeparam name="TVector">The vector of f32.</typeparam>
internal unsafe interface ILanes<TVector>
    where TVector : unmanaged
{
    /// <summary>Floats in a vector: 1, 4, 8 or 16.</summary>
    static abstract int Count { get; }

    static abstract TVector Load(float* source);

    static abstract void Store(TVector value, float* destination);

    static abstract TVector Broadcast(float* source);

    /// <summary>left * right + addend with one rounding.</summary>
    static abstract TVector MultiplyAdd(TVector left, TVector right, TVector addend);

    /// <summary>The first bf16 of each of <see cref="Count"/> pairs.</summary>
    static abstract TVector FirstOfPairs(byte* pairs);

    /// <summary>The second bf16 of each of <see cref="Count"/> pairs.</summary>
    static abstract TVector SecondOfPairs(byte* pairs);
}

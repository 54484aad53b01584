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

    static abstract TVector Multiply(TVector left, TVector right);

    /// <summary>left * right + addend with one rounding.</summary>
    static abstract TVector MultiplyAdd(TVector left, TVector right, TVector addend);

    /// <summary>The first bf16 of each of <see cref="Count"/> pairs.</summary>
    static abstract TVector FirstOfPairs(byte* pairs);

    /// <summary>The second bf16 of each of <see cref="Count"/> pairs.</summary>
    static abstract TVector SecondOfPairs(byte* pairs);
}

/// <summary>What products of int8 weights need of a vector width besides: integers as wide as its floats. Their sums are exact, so every order gives the same.</summary>
/// <typeparam name="TVector">The vector of f32.</typeparam>
/// <typeparam name="TInts">The vector of as many int32, each also read as a pair of int16.</typeparam>
internal unsafe interface IIntegerLanes<TVector, TInts>
    where TVector : unmanaged
    where TInts : unmanaged
{
    static abstract TInts LoadInts(byte* source);

    static abstract TInts Broadcast(int* source);

    /// <summary>The lower byte of every int16, without sign.</summary>
    static abstract TInts LowerBytes(TInts values);

    /// <summary>The upper byte of every int16, with sign.</summary>
    static abstract TInts UpperBytes(TInts values);

    /// <summary>sum + the first of the weights' pair * the first of the inputs' + the second * the second.</summary>
    static abstract TInts AddProducts(TInts sum, TInts weights, TInts inputs);

    /// <summary>Rounded to the nearest, ties to even.</summary>
    static abstract TVector ToFloats(TInts sums);

    /// <summary>One bf16 of each of as many pairs as there are lanes: the first with a shift of 16, the second with one of 0.</summary>
    static abstract TVector OneOfPairs(byte* pairs, int shift);
}

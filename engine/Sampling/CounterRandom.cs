namespace ScriptedServe.Engine.Sampling;

/// <summary>
/// Random numbers by counter: the value depends on the key and the counter alone, so a draw does not depend on how many were made before it, nor
/// by whom. Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
/// </summary>
public static class CounterRandom
{
    private const int Rounds = 10;
    private const uint Multiplier0 = 0xD2511F53, Multiplier1 = 0xCD9E8D57;
    private const uint Weyl0 = 0x9E3779B9, Weyl1 = 0xBB67AE85;

    /// <summary>The four words of a counter block under a 64-bit key.</summary>
    public static (uint X0, uint X1, uint X2, uint X3) Philox(ulong key, (uint X0, uint X1, uint X2, uint X3) counter)
    {
        var (key0, key1) = ((uint)key, (uint)(key >> 32));
        for (var round = 0; round < Rounds; round++)
        {
            var product0 = (ulong)Multiplier0 * counter.X0;
            var product1 = (ulong)Multiplier1 * counter.X2;
            counter = ((uint)(product1 >> 32) ^ counter.X1 ^ key0, (uint)product1, (uint)(product0 >> 32) ^ counter.X3 ^ key1, (uint)product0);
            key0 += Weyl0;
            key1 += Weyl1;
        }

        return counter;
    }

    /// <summary>A number in [0, 1) with 53 random bits, for the token at <paramref name="position"/> of a request with <paramref name="seed"/>.</summary>
    public static double Uniform(ulong seed, int position)
    {
        var (x0, x1, _, _) = Philox(seed, ((uint)position, 0, 0, 0));
        return ((((ulong)x1 << 32) | x0) >> 11) * (1.0 / (1UL << 53));
    }
}

// The numbers that Sampling/CounterRandom.cs gives: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
#pragma once

/// A number in [0, 1) with 53 random bits, for the token at a position of a request with this seed.
__device__ __forceinline__ double counter_uniform(unsigned long long seed, int position) {
    unsigned key0 = (unsigned)seed, key1 = (unsigned)(seed >> 32);
    unsigned x0 = (unsigned)position, x1 = 0, x2 = 0, x3 = 0;
    for (int round = 0; round < 10; round++) {
        unsigned long long product0 = 0xD2511F53ull * x0, product1 = 0xCD9E8D57ull * x2;
        x0 = (unsigned)(product1 >> 32) ^ x1 ^ key0;
        x2 = (unsigned)(product0 >> 32) ^ x3 ^ key1;
        x1 = (unsigned)product1;
        x3 = (unsigned)product0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return (double)((((unsigned long long)x1 << 32) | x0) >> 11) * (1.0 / 9007199254740992.0);
}

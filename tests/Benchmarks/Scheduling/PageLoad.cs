using ScriptedServe.Engine.Kv;

namespace ScriptedServe.SchedulingBenchmark;

/// <summary>What the books of the KV pages cost by themselves, for sequences that each grow by a token a step.</summary>
internal static class PageLoad
{
    private const int PageTokens = 16;
    private const int Rounds = 40;
    private const int StepsOfRound = 32;

    /// <returns>Microseconds a step, at best of many rounds.</returns>
    public static double Measure(int sequences)
    {
        int tokensOfAll = Rounds * StepsOfRound;
        var cache = new PrefixCache(new PageAllocator(sequences * tokensOfAll / PageTokens), PageTokens);
        BlockTable[] tables = [.. Enumerable.Range(0, sequences).Select(_ => new BlockTable(cache))];
        int[][] tokens = [.. Enumerable.Range(0, sequences).Select(sequence => Enumerable.Range(sequence, tokensOfAll).ToArray())];
        double best = double.MaxValue;
        int count = 0;
        for (int round = 0; round < Rounds; round++)
        {
            long start = TimeProvider.System.GetTimestamp();
            for (int step = 0; step < StepsOfRound; step++)
            {
                count++;
                for (int i = 0; i < sequences; i++)
                {
                    _ = tables[i].TryExtend(count);
                    _ = tables[i].Pages;
                    tables[i].Publish(tokens[i].AsSpan(0, count), withTail: false);
                }
            }

            best = Math.Min(best, TimeProvider.System.GetElapsedTime(start).TotalMicroseconds / StepsOfRound);
        }

        return best;
    }
}

// Hedged requests: if the first token is not there after the time that 95% of requests need, a second engine begins as well.
// Whichever is first serves the client, the other one is stopped. One slow engine then no longer makes slow requests, for
// some 5% more work; and as the same request gives the same tokens everywhere, nobody can tell which engine it was.
//
// Option `hedge_ms`: milliseconds to wait; without it, the traffic's 95th percentile, and half a second until it is known.

async IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    var usual = Traffic.Ttft.Count < 20 ? 500 : Traffic.Ttft.P95 * 1000;
    var patience = TimeSpan.FromMilliseconds(Options.Get("hedge_ms", usual));

    var engine = Fleet.LeastLoaded();
    var others = Fleet.Where(other => other != engine);
    await using var first = engine.StartGenerate(request).Begin();
    var winner = first;
    if (others.Count > 0 && !await first.StartsWithin(patience, Time))
    {
        winner = await Generation.First(first, others.LeastLoaded().StartGenerate(request).Begin());
    }

    await foreach (var chunk in winner) yield return chunk;
}

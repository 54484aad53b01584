// SLO-aware: a client says in the header X-Slo-Ttft-Ms how long it will wait for its first token. Requests go where the
// first token is expected soonest; one that no engine can serve in time is refused at once, so that the client can go
// elsewhere. How long a prompt token takes is learned from the traffic, and survives a swap.
//
// Option `ms_per_token`: milliseconds a prompt token takes, until something has been learned (default 1).

var pace = State.GetOrAdd("ms_per_token", () => new[] { Options.Get("ms_per_token", 1.0) });

async IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    var engine = Fleet.MinBy(Work) ?? Fleet.LeastLoaded();
    var work = Work(engine);
    var expected = TimeSpan.FromMilliseconds(work * pace[0]);
    if (request.Headers.TryGetValue("X-Slo-Ttft-Ms", out var text) && double.TryParse(text, out var slo) && expected.TotalMilliseconds > slo)
    {
        throw new EngineException(engine.Id, EngineError.Overloaded, $"the first token would take {expected.TotalMilliseconds:0} ms, {slo:0} ms are allowed", retryAfter: expected);
    }

    var began = Time.GetTimestamp();
    await foreach (var chunk in engine.StartGenerate(request))
    {
        if (work > 0)
        {
            // A moving average over some twenty requests.
            pace[0] += ((Time.GetElapsedTime(began).TotalMilliseconds / work) - pace[0]) / 20;
            work = 0;
        }

        yield return chunk;
    }

    // Prompt tokens to compute before the first token: those that wait there, and this prompt's own.
    int Work(Engine on) => on.Load.PrefillTokensQueued + Math.Max(1, request.Length - on.CachedTokens(request));
}

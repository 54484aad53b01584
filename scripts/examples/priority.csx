// Priority: only so many requests run at a time, and of those that wait the important ones go first. The client says which
// in the header X-Priority: high, normal or low. Nobody starves: each class gives way only to requests that come a bounded
// time after it.
//
// Options `slots`: requests that run at a time (default 16), `yield_seconds`: how long a class waits for the one above it
// (default 10).

// In State, so that those who wait keep their place when a new version takes over.
var queue = State.GetOrAdd("queue", () => new AdmissionQueue(16));
queue.Limit = Options.Get("slots", 16);

async IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    var steps = request.Headers.GetValueOrDefault("X-Priority") switch { "high" => 0, "low" => 2, _ => 1 };
    var arrival = Time.GetUtcNow().ToUnixTimeMilliseconds() / 1000.0;
    using var place = await queue.Enter(request, arrival + (steps * Options.Get("yield_seconds", 10.0)));
    await foreach (var chunk in Fleet.LeastLoaded().StartGenerate(request)) yield return chunk;
}

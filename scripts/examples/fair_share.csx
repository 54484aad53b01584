// Fair shares: when more requests come than can run, each tenant gets the same share of the work, however many requests it
// sends. The tenant is named in the header X-Tenant. Work is counted in tokens; a tenant that has had more than another
// waits behind it, one that was away does not save up for later.
//
// Options `slots`: requests that run at a time (default 16), `weight.NAME`: a tenant's share relative to the others (default 1).

// In State, so that nobody gains from a swap.
var queue = State.GetOrAdd("queue", () => new AdmissionQueue(16));
var served = State.GetOrAdd("served", () => new Dictionary<string, double>());
queue.Limit = Options.Get("slots", 16);

async IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    using var place = await queue.Enter(request, Turn(request));
    await foreach (var chunk in Fleet.LeastLoaded().StartGenerate(request)) yield return chunk;
}

// Where a request stands in the line: after all that its tenant has had, and not before what is being served now.
double Turn(Request request)
{
    var tenant = request.Headers.GetValueOrDefault("X-Tenant", "");
    var work = request.Length + request.Sampling.MaxTokens;
    lock (served)
    {
        var now = queue.LastOrder;
        foreach (var (name, _) in served.Where(other => other.Value <= now).ToList()) served.Remove(name);
        var turn = served.GetValueOrDefault(tenant, now);
        served[tenant] = turn + (work / Math.Max(0.01, Options.Get($"weight.{tenant}", 1.0)));
        return turn;
    }
}

// Context warm-up: before the traffic of a new system prompt begins, an operator sends it once with the header X-Warm-Up.
// One engine computes it and the others get a copy of its KV, which takes a fraction of the time. From then on every engine
// can serve requests that begin with it; each goes to the one that has most of its prompt, the least loaded among equals.

async IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    var engine = Fleet.LongestPrefix(request);
    if (request.Headers.ContainsKey("X-Warm-Up") && request.Length > 1)
    {
        // One after the other: the first send computes the prompt, the further ones find it in the cache.
        foreach (var target in Fleet.Where(other => other != engine))
        {
            var kv = await target.PrepRecv(request, request.Length - 1);
            await engine.RemoteSend(request, kv);
            await kv.Release();
        }
    }

    await foreach (var chunk in engine.StartGenerate(request)) yield return chunk;
}

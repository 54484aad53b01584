// Context migration: the engine that has most of the prompt cached need not be the one with time to spare. The cached
// context is copied to the least loaded engine, which generates from it; next time the context is there as well.
//
// Option `min_tokens`: contexts shorter than this are computed again rather than moved (default 64).

async IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    var target = Fleet.LeastLoaded();
    var holder = Fleet.LongestPrefix(request);

    // What can be moved: the holder's cached beginning of the prompt, and never its last token, from which generation starts.
    var context = Math.Min(holder.CachedTokens(request), request.Length - 1);
    var gain = context - target.CachedTokens(request);
    if (holder == target || context == 0 || gain < Options.Get("min_tokens", 64))
    {
        await foreach (var chunk in target.StartGenerate(request)) yield return chunk;
        yield break;
    }

    var kv = await target.PrepRecv(request, context);
    await holder.RemoteSend(request, kv);
    await foreach (var chunk in target.StartGenerate(request, kv)) yield return chunk;
}

// Conditional disaggregation: the prefill engine is worth the detour only where there is much to compute. A prompt that is
// short, or mostly cached where it will be decoded, stays there; a long new one is computed on a prefill engine.
//
// Option `min_tokens`: prompt tokens to compute from which the prefill engine is used (default 256).

async IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    var decode = Fleet.Role("decode").LongestPrefix(request);
    var prefill = Fleet.Role("prefill").LeastLoaded();
    var end = request.Length - 1;
    if (prefill == decode || end - decode.CachedTokens(request) < Math.Max(1, Options.Get("min_tokens", 256)))
    {
        await foreach (var chunk in decode.StartGenerate(request)) yield return chunk;
        yield break;
    }

    var kv = await decode.PrepRecv(request, end);
    await prefill.RemoteSend(request, kv);
    await foreach (var chunk in decode.StartGenerate(request, kv)) yield return chunk;
}

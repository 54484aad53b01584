// Balanced disaggregation: as pd_disagg, but the decode engine computes the last part of the prompt itself. Where
// prefill is the bottleneck this shortens the wait for the first token, for a slightly slower generation.
//
// Option `decode_share`: the part of the prompt that the decode engine computes, 0 to 1 (default 0.1).
//   push balanced_pd.csx --activate, then POST /admin/routers/balanced_pd/activate?version=1&option.decode_share=0.25

async IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    var prefill = Fleet.Role("prefill").LeastLoaded();
    var decode = Fleet.Role("decode").LeastLoaded();
    var share = Math.Clamp(Options.Get("decode_share", 0.1), 0, 1);

    // At least the last token is the decode engine's.
    var split = Math.Min(request.Length - 1, (int)(request.Length * (1 - share)));
    if (split == 0 || prefill == decode)
    {
        await foreach (var chunk in decode.StartGenerate(request)) yield return chunk;
        yield break;
    }

    // tokens[..split] come from the prefill engine, tokens[split..] are computed by StartGenerate.
    var kv = await decode.PrepRecv(request, split);
    await prefill.RemoteSend(request, kv);
    await foreach (var chunk in decode.StartGenerate(request, kv)) yield return chunk;
}

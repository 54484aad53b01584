// Prefill-decode disaggregation: one engine computes the prompt, another generates, so that long prompts do not
// disturb the steady pace of generation. Engines get their roles with --label prefill and --label decode.

async IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    var prefill = Fleet.Role("prefill").LeastLoaded();
    var decode = Fleet.Role("decode").LeastLoaded();

    // All of the prompt but its last token: from that one the decode engine computes the first new token.
    var end = request.Length - 1;

    // A prompt of one token, or one engine for both roles: there is nothing to hand over.
    if (end == 0 || prefill == decode)
    {
        await foreach (var chunk in decode.StartGenerate(request)) yield return chunk;
        yield break;
    }

    var kv = await decode.PrepRecv(request, end);

    // The decode engine may have the beginning of the prompt cached (kv.MatchedTokens): only the rest is sent. If it has
    // all of it, this makes no call.
    await prefill.RemoteSend(request, kv);

    await foreach (var chunk in decode.StartGenerate(request, kv)) yield return chunk;
}

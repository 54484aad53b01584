// Cost-aware cascade over two models: the small one begins. If it is not sure of its first tokens, they are thrown away
// before the client has seen any, and the large one answers. The models must share a tokenizer; the host is told of the
// second one with --also-model, and the engines of the small one carry the label `small`.
//
// Options `look`: tokens to judge by (default 8), `sure`: their mean log-probability that is good enough (default -0.5).

async IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    var small = Fleet.Where(engine => engine.Labels.Contains("small"));
    var large = Fleet.Where(engine => !engine.Labels.Contains("small"));
    if (small.Count > 0 && large.Count > 0)
    {
        // Log-probabilities are needed here, whether or not the client asked for them.
        var asked = request.Sampling.Logprobs is not null;
        var attempt = small.LeastLoaded().StartGenerate(request, sampling: asked ? null : request.Sampling with { Logprobs = 0 });
        await using var chunks = attempt.GetAsyncEnumerator();
        var held = new List<Chunk>();
        var look = Options.Get("look", 8);
        while (held.Sum(chunk => chunk.Tokens.Length) < look && await chunks.MoveNextAsync()) held.Add(chunks.Current);

        if (held.SelectMany(chunk => chunk.Logprobs).Average(token => (double?)token.Logprob) >= Options.Get("sure", -0.5))
        {
            foreach (var chunk in held) yield return asked ? chunk : chunk with { Logprobs = [] };
            while (await chunks.MoveNextAsync()) yield return asked ? chunks.Current : chunks.Current with { Logprobs = [] };
            yield break;
        }
    }

    await foreach (var chunk in (large.Count > 0 ? large : Fleet).LeastLoaded().StartGenerate(request)) yield return chunk;
}

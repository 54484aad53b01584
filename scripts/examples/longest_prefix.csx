// Longest prefix: a request goes to the engine that has most of its prompt cached, unless waiting there would cost more
// than computing the prompt anew on the engine with the least to do. Good for chats and for long system prompts.
//
// Option `request_tokens`: prompt tokens that a request in progress slows an engine down by (default 64).

IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    var (holder, free) = (Fleet.LongestPrefix(request), Fleet.LeastLoaded());
    var saved = holder.CachedTokens(request) - free.CachedTokens(request);
    return (saved >= Ahead(holder) - Ahead(free) ? holder : free).StartGenerate(request);
}

// What is before a new request on an engine, in prompt tokens.
int Ahead(Engine engine) =>
    engine.Load.PrefillTokensQueued + (Math.Max(engine.Load.InFlight, engine.Load.Waiting + engine.Load.Running) * Options.Get("request_tokens", 64));

// Dynamic reconfiguration: PlanStrategy looks at the traffic once a second and sets the policy; HandleRequest follows it.
//
// Long prompts with a short answer profit from data parallel work on all engines; a mix in which generation would be
// disturbed by long prompts profits from separating the two. With little traffic neither matters and the simplest wins.
//
// Options: `busy_rate` requests a second from which separation is considered (default 2),
//          `long_prompt` mean prompt tokens from which it pays (default 512),
//          `max_ratio` prompt tokens to output tokens above which prefill is the bottleneck (default 40).

// Top-level variables belong to this version. Each request reads the policy once, so it may change at any time.
var separate = false;

void PlanStrategy()
{
    var busy = Traffic.ArrivalRate >= Options.Get("busy_rate", 2.0);
    var longPrompts = Traffic.PromptTokens.Mean >= Options.Get("long_prompt", 512.0);
    var prefillBound = Traffic.PrefillDecodeRatio > Options.Get("max_ratio", 40.0);
    var plan = busy && longPrompts && !prefillBound;
    if (plan != separate)
    {
        Log.Info($"policy: {(plan ? "prefill and decode apart" : "data parallel")} at {Traffic.ArrivalRate:0.0} requests/s, {Traffic.PromptTokens.Mean:0} prompt tokens");
        separate = plan;
    }
}

IAsyncEnumerable<Chunk> HandleRequest(Request request) => separate ? Apart(request) : Fleet.LeastLoaded().StartGenerate(request);

async IAsyncEnumerable<Chunk> Apart(Request request)
{
    var prefill = Fleet.Role("prefill").LeastLoaded();
    var decode = Fleet.Role("decode").LeastLoaded();
    var end = request.Length - 1;
    if (end == 0 || prefill == decode)
    {
        await foreach (var chunk in decode.StartGenerate(request)) yield return chunk;
        yield break;
    }

    var kv = await decode.PrepRecv(request, end);
    await prefill.RemoteSend(request, kv);
    await foreach (var chunk in decode.StartGenerate(request, kv)) yield return chunk;
}

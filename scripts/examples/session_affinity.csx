// Session affinity: the turns of one conversation stay on one engine, whose cache then holds the conversation so far. The
// client names it in the header X-Session; a session leaves its engine only while that has far more to do than another.
//
// Option `max_lead`: requests an engine may have more than the least loaded one and keep its sessions (default 8).

IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    var free = Fleet.LeastLoaded();
    if (!request.Headers.TryGetValue("X-Session", out var session)) return free.StartGenerate(request);

    // The same engine each time, without a table: as long as it is there, whatever other engines come and go.
    var home = Fleet.Sticky(session);
    var lead = home.Load.InFlight - free.Load.InFlight;
    return (lead <= Options.Get("max_lead", 8) ? home : free).StartGenerate(request);
}

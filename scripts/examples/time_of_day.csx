// Time of day: engines labelled `night` (machines that train or test by day) serve only at night; by day the others do. The
// hours are those of the host's time zone.
//
// Options `night_from`, `night_until`: hours of the day, 0 to 24 (default 22 and 6).

IAsyncEnumerable<Chunk> HandleRequest(Request request)
{
    var day = Fleet.Where(engine => !engine.Labels.Contains("night"));
    return (IsNight() || day.Count == 0 ? Fleet : day).LeastLoaded().StartGenerate(request);
}

bool IsNight()
{
    var (from, until) = (Options.Get("night_from", 22.0), Options.Get("night_until", 6.0));
    var hour = Time.GetLocalNow().TimeOfDay.TotalHours;
    return from <= until ? hour >= from && hour < until : hour >= from || hour < until;
}

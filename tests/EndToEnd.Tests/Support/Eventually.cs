namespace ScriptedServe.EndToEnd.Tests.Support;

/// <summary>Waiting for another process: the condition is asked again and again until it holds or the limit has passed.</summary>
public static class Eventually
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(25);

    public static Task TrueAsync(string what, Func<Task<bool>> condition, TimeSpan limit, Func<string> describe) =>
        TrueAsync(what, condition, limit, () => Task.FromResult(describe()));

    public static async Task TrueAsync(string what, Func<Task<bool>> condition, TimeSpan limit, Func<Task<string>>? describe = null)
    {
        var time = TimeProvider.System;
        var start = time.GetTimestamp();
        using var timer = new PeriodicTimer(Interval, time);
        Exception? last = null;
        do
        {
            try
            {
                if (await condition())
                {
                    return;
                }

                last = null;
            }
            catch (HttpRequestException e)
            {
                last = e;
            }
        }
        while (time.GetElapsedTime(start) < limit && await timer.WaitForNextTickAsync());

        Assert.Fail($"not within {limit.TotalSeconds} s: {what}. {last?.Message}\n{(describe is null ? "" : await describe())}");
    }
}

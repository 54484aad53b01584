using System.Globalization;
using System.Text;

namespace ScriptedServe.LiveSwapBenchmark;

/// <summary>Changes the default router in every way there is: saves its file, pushes it, activates an older version, rolls back.</summary>
internal sealed class Swapper(HostUnderLoad host, TimeProvider time)
{
    private const string Router = "data_parallel";
    private readonly Random _random = new(1);
    private readonly List<double> _compiled = [];
    private readonly List<double> _pointed = [];
    private readonly Dictionary<string, int> _done = [];
    private readonly string _source = File.ReadAllText(Path.Combine(host.Scripts, Router + ".csx"));
    private int _edits;

    /// <summary>Makes <paramref name="swaps"/> changes, one after another, as fast as the host takes them.</summary>
    public async Task RunAsync(int swaps)
    {
        for (var i = 0; i < swaps; i++)
        {
            var way = _random.Next(10) switch { < 2 => "saved", < 7 => "pushed", < 9 => "activated", _ => "rolled back" };
            var start = time.GetTimestamp();
            await (way switch { "saved" => SaveAsync(), "pushed" => PushAsync(), "activated" => ActivateAsync(), _ => RollbackAsync() });
            var taken = time.GetElapsedTime(start).TotalMilliseconds;
            _done[way] = _done.GetValueOrDefault(way) + 1;
            if (way == "pushed")
            {
                _compiled.Add(taken);
            }
            else if (way != "saved")
            {
                _pointed.Add(taken);
            }
        }
    }

    /// <summary>Drops what was counted and timed so far.</summary>
    public void Forget()
    {
        _compiled.Clear();
        _pointed.Clear();
        _done.Clear();
    }

    public string Summary() => string.Join(", ", _done.OrderBy(way => way.Key, StringComparer.Ordinal).Select(way => $"{way.Value} {way.Key}"));

    public string Latency() => Percentiles(_compiled);

    public string PointerLatency() => Percentiles(_pointed);

    private string Edited() => $"{_source}\n// edit {++_edits}\n";

    private async Task SaveAsync()
    {
        var before = await VersionsAsync();
        await File.WriteAllTextAsync(Path.Combine(host.Scripts, Router + ".csx"), Edited());
        while ((await VersionsAsync()).Active <= before.Newest)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(20), time);
        }
    }

    private async Task PushAsync()
    {
        using var content = new StringContent(Edited(), Encoding.UTF8);
        using var response = await host.Client.PutAsync($"/admin/routers/{Router}?activate=true", content);
        await CheckAsync(response);
    }

    private async Task ActivateAsync()
    {
        using var response = await host.Client.PostAsync($"/admin/routers/{Router}/activate?version={(await VersionsAsync()).Previous}", null);
        await CheckAsync(response);
    }

    private async Task RollbackAsync()
    {
        using var response = await host.Client.PostAsync($"/admin/routers/{Router}/rollback", null);
        await CheckAsync(response);
    }

    private async Task<(int Active, int Newest, int Previous)> VersionsAsync()
    {
        var router = (await host.GetAsync("/admin/routers"))["routers"]!.AsArray().Single(router => (string)router!["name"]! == Router)!;
        var active = (int)router["active_version"]!;
        var usable = router["versions"]!.AsArray().Where(version => (string)version!["state"]! is "loaded" or "draining").Select(version => (int)version!["version"]!).ToList();
        return (active, router["versions"]!.AsArray().Max(version => (int)version!["version"]!), usable.Count > 0 ? usable.Max() : active);
    }

    private static async Task CheckAsync(HttpResponseMessage response)
    {
        if (!response.IsSuccessStatusCode)
        {
            throw new InvalidOperationException($"{(int)response.StatusCode} {await response.Content.ReadAsStringAsync()}");
        }
    }

    private static string Percentiles(List<double> values)
    {
        if (values.Count == 0)
        {
            return "none";
        }

        values.Sort();
        double At(double share) => values[Math.Min(values.Count - 1, (int)(share * values.Count))];
        return string.Create(CultureInfo.InvariantCulture, $"p50 {At(0.5):F1}, p90 {At(0.9):F1}, p99 {At(0.99):F1}, max {values[^1]:F1} ({values.Count})");
    }
}

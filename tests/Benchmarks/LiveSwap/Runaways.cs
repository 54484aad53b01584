using System.Globalization;
using System.Text;

namespace ScriptedServe.LiveSwapBenchmark;

/// <summary>What scripts that run away cost the requests of another router: rounds with one of each kind, alternating with quiet rounds.</summary>
internal static class Runaways
{
    private const string Handler = "async IAsyncEnumerable<Chunk> HandleRequest(Request request) { await Run(); yield break; }\n";

    private static readonly (string Name, string Text)[] s_kinds =
    [
        ("loop", "int n; async Task Run() { while (true) n++; }"),
        ("recursion", "int Deep(int x) => Deep(x + 1) + 1; async Task Run() => Deep(1);"),
        ("allocation", "async Task Run() { var all = new List<byte[]>(); while (true) all.Add(new byte[1 << 20]); }"),
        ("string doubling", "async Task Run() { var s = \"x\"; while (true) s += s; }"),
        ("exceptions", "async Task Run() { while (true) try { throw new Exception(); } catch { } }"),
        ("locks", "readonly object a = new(); async Task Run() { var t = Task.Run(() => { lock (a) for (;;) ; }); await Task.Yield(); lock (a) await_(); } void await_() { for (;;) ; }"),
        ("task storm", "async Task Run() { for (;;) { _ = Storm(); await Task.Yield(); } } async Task Storm() { await Task.Yield(); for (;;) ; }"),
        ("endless OnLoad", "void OnLoad() { while (true) ; } async Task Run() { }"),
        ("hanging OnLoad", "async Task OnLoad() => await new TaskCompletionSource().Task; async Task Run() { }"),
    ];

    public static async Task<int> RunAsync(int seconds, int streams, TimeProvider time)
    {
        await using var host = await HostUnderLoad.StartAsync(["--model", "synthetic:step-us=5000", "--script-load-ms", "1000"]);
        var traffic = new StreamTraffic(host.Client, streams, time, tokens: 16);
        await traffic.LearnAsync();
        traffic.Start();
        var round = TimeSpan.FromSeconds(seconds);
        await Task.Delay(round, time);
        traffic.TakeDurations();
        Console.WriteLine($"{streams} streams of 16 tokens, 5 ms a step, through another router");
        Console.WriteLine("| beside it | runs away | p50 ms | p99 ms | p99 of the quiet round before | ratio |\n|---|---|---|---|---|---|");
        for (var i = 0; i < s_kinds.Length; i++)
        {
            await Task.Delay(round, time);
            var quiet = traffic.TakeDurations();
            var times = await RunAwayAsync(host.Client, $"away{i}", s_kinds[i].Text, round, time);
            var beside = traffic.TakeDurations();
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"| {s_kinds[i].Name} | {times} times | {At(beside, 0.5):F0} | {At(beside, 0.99):F0} | {At(quiet, 0.99):F0} | {At(beside, 0.99) / At(quiet, 0.99):F2} |"));
        }

        await traffic.StopAsync();
        Console.WriteLine($"{traffic.Finished} finished, {traffic.Failed} failed or changed{(traffic.FirstFailure is { } failure ? ": " + failure : "")}");
        return traffic.Failed == 0 ? 0 : 1;
    }

    /// <summary>Pushes it, and asks it again and again if it can be asked; how often it was stopped.</summary>
    private static async Task<int> RunAwayAsync(HttpClient client, string router, string text, TimeSpan round, TimeProvider time)
    {
        var began = time.GetTimestamp();
        var times = 0;
        while (time.GetElapsedTime(began) < round)
        {
            using var script = new StringContent(Handler + text);
            using var put = await client.PutAsync($"/admin/routers/{router}?activate=true", script);
            times++;
            while (put.IsSuccessStatusCode && time.GetElapsedTime(began) < round)
            {
                using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = new StringContent("""{"prompt":"a","max_tokens":1}""", Encoding.UTF8, "application/json") };
                request.Headers.Add("X-Router", router);
                using var response = await client.SendAsync(request);
                if (response.IsSuccessStatusCode)
                {
                    throw new InvalidOperationException($"{router} was not stopped");
                }

                times++;
            }
        }

        return times;
    }

    private static double At(double[] ascending, double share) => ascending[(int)Math.Min(ascending.Length - 1, share * ascending.Length)];
}

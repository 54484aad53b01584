using System.Globalization;
using System.Text.Json.Nodes;
using ScriptedServe.LiveSwapBenchmark;
using ScriptedServe.Soak;

// dotnet build -c Release host && dotnet run -c Release --project tests/Benchmarks/Soak -- [minutes] [model]
// A host and two engines under mixed load with random aborts, KV memory for a fifth of the demand. Ends with exit code 1 if anything was wrong.
double minutes = args.Length > 0 ? double.Parse(args[0], CultureInfo.InvariantCulture) : 10;
string[] model = args.Length > 1 ? ["--model", args[1]] : [];
const int Callers = 40;

// The demand: all callers' longest requests at a time, on two engines. A page of either model is 16 tokens.
int pagesOfLongest = (Requests.LongestPromptTokens + Requests.LongestOutput + 15) / 16;
JsonNode engine;
IReadOnlyList<KnownRequest> requests;
await using (var idle = await HostUnderLoad.StartAsync([.. model, "--engines", "2"]))
{
    engine = (await idle.GetAsync("/admin/engines"))["engines"]![0]!;
    requests = await Requests.WithAnswersAsync(idle.Client);
}

long pageBytes = (long)engine["kv_page_bytes"]!;
long kvMemory = Callers * pagesOfLongest * pageBytes / 5 / 2;
await using var host = await HostUnderLoad.StartAsync([.. model, "--engines", "2", "--kv-memory", $"{kvMemory}B"]);
Console.WriteLine($"{engine["model"]}, {Callers} callers for {minutes} minutes, {kvMemory >> 10} KiB of KV an engine, {requests.Count} different requests");
Console.WriteLine("minute   whole    left  refused   wrong   longest first token s   longest whole s   host MiB   KV held");
var load = new Load(host.Client, requests);
using var stop = new CancellationTokenSource();
long begun = TimeProvider.System.GetTimestamp();
var callers = Enumerable.Range(0, Callers).Select(caller => load.RunAsync(new Random(caller), stop.Token)).ToList();
while (TimeProvider.System.GetElapsedTime(begun).TotalMinutes < minutes)
{
    await Task.Delay(TimeSpan.FromSeconds(Math.Min(30, minutes * 15)), TimeProvider.System);
    await ReportAsync();
}

await stop.CancelAsync();
await Task.WhenAll(callers);
bool clean = false;
for (int attempt = 0; attempt < 100 && !clean; attempt++)
{
    await Task.Delay(TimeSpan.FromMilliseconds(200), TimeProvider.System);
    clean = (await EnginesAsync()).All(engine => Held(engine) == 0 && (int)engine["load"]!["reservations"]! == 0 && (int)engine["load"]!["running"]! == 0 && (int)engine["load"]!["waiting"]! == 0
        && (int)engine["load"]!["kv_pages_free"]! == (int)engine["load"]!["kv_pages_total"]! && (int)engine["restarts"]! == 0);
}

await ReportAsync();
foreach (var line in load.Errors.Take(10))
{
    Console.WriteLine(line);
}

bool good = clean && load.Wrong == 0 && load.Whole > 0;
Console.WriteLine(good ? "every stream was right, and nothing is held" : $"NOT GOOD: {load.Wrong} wrong, engines clean: {clean}");
return good ? 0 : 1;

async Task ReportAsync()
{
    var reading = await host.ReadAsync();
    int held = (await EnginesAsync()).Sum(Held);
    Console.WriteLine(string.Create(
        CultureInfo.InvariantCulture,
        $"{TimeProvider.System.GetElapsedTime(begun).TotalMinutes,6:F1} {load.Whole,7} {load.Left,7} {load.Refused,8} {load.Wrong,7} {load.LongestFirst,23:F1} {load.LongestWhole,17:F1} {reading.ResidentMiB,10:F0} {held,9}"));
}

async Task<IReadOnlyList<JsonNode>> EnginesAsync() => [.. (await host.GetAsync("/admin/engines"))["engines"]!.AsArray().Select(engine => engine!)];

static int Held(JsonNode engine) => (int)engine["load"]!["kv_pages_held"]!;

using System.Globalization;
using ScriptedServe.LiveSwapBenchmark;

// dotnet build -c Release, then: dotnet run -c Release --project tests/Benchmarks/LiveSwap -- [swaps] [streams] [more arguments of the host]
// Swaps routers in many ways under streaming traffic and says what that cost; exits with 1 when a stream failed or changed.
int swaps = args.Length > 0 ? int.Parse(args[0], CultureInfo.InvariantCulture) : 1000;
int streams = args.Length > 1 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 64;
await using var host = await HostUnderLoad.StartAsync([.. args.Skip(2)]);
var traffic = new StreamTraffic(host.Client, streams);
await traffic.LearnAsync();
Console.WriteLine($"{streams} streams, each with tokens of its own, learnt from an idle host");

var swapper = new Swapper(host, TimeProvider.System);
if (streams > 0)
{
    traffic.Start();
}

await swapper.RunAsync(Math.Max(20, swaps / 10));
var warm = await host.ReadAsync();
swapper.Forget();
await swapper.RunAsync(swaps);
var end = await host.ReadAsync();
await traffic.StopAsync();
var settled = await host.ReadAsync();
await Task.Delay(TimeSpan.FromSeconds(5), TimeProvider.System);
var quiet = await host.ReadAsync();

Console.WriteLine($"swaps            {swapper.Summary()}");
Console.WriteLine($"compile to active, ms   {swapper.Latency()}");
Console.WriteLine($"activate, rollback, ms  {swapper.PointerLatency()}");
Console.WriteLine($"streams          {traffic.Finished} finished, {traffic.Failed} failed or changed{(traffic.FirstFailure is { } failure ? ": " + failure : "")}");
Console.WriteLine("after              resident  heap  committed, MiB   load contexts");
foreach (var (when, reading) in new[] { ("warm-up", warm), ("the swaps", end), ("the traffic", settled), ("five quiet seconds", quiet) })
{
    Console.WriteLine($"{when,-18} {reading.ResidentMiB,8:F0} {reading.HeapMiB,5:F0} {reading.CommittedMiB,10:F0} {reading.LoadContexts,20}");
}

return traffic.Failed == 0 ? 0 : 1;

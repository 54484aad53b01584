using System.Globalization;
using ScriptedServe.LiveSwapBenchmark;

// dotnet build -c Release, then: dotnet run -c Release --project tests/Benchmarks/LiveSwap -- [swaps] [streams] [more arguments of the host]
// Swaps routers in many ways under streaming traffic and says what that cost; exits with 1 when a stream failed or changed.
// With `runaways [seconds] [streams]`: what scripts that run away cost the requests of another router.
if (args is ["runaways", ..])
{
    return await Runaways.RunAsync(Number(1, 5), Number(2, 8), TimeProvider.System);
}

var swaps = Number(0, 1000);
var streams = Number(1, 64);
await using var host = await HostUnderLoad.StartAsync([.. args.Skip(2)]);
var traffic = new StreamTraffic(host.Client, streams, TimeProvider.System);
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
Console.WriteLine("after              resident  its compiler  heap  committed, MiB   load contexts");
foreach (var (when, reading) in new[] { ("warm-up", warm), ("the swaps", end), ("the traffic", settled), ("five quiet seconds", quiet) })
{
    Console.WriteLine($"{when,-18} {reading.ResidentMiB,8:F0} {reading.CompilerMiB,13:F0} {reading.HeapMiB,5:F0} {reading.CommittedMiB,10:F0} {reading.LoadContexts,20}");
}

return traffic.Failed == 0 ? 0 : 1;

int Number(int place, int otherwise) => args.Length > place ? int.Parse(args[place], CultureInfo.InvariantCulture) : otherwise;

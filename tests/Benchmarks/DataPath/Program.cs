using ScriptedServe.DataPathBenchmarks;
using ScriptedServe.DataPathBenchmarks.Layers;
using ScriptedServe.DataPathBenchmarks.Stub;

// dotnet run -c Release --project tests/Benchmarks/DataPath -- [rounds=7] [seconds=4] [requests=200] [only=script,throughput,paced,first] [host=FILE]

// The generator and the stubs wake no second thread, as other load generators do not: that would be counted as time of whoever stands between them.
Environment.SetEnvironmentVariable(Workload.InlineSockets, "1");
if (args is ["stub"])
{
    return await StubCommand.RunAsync();
}

try
{
    var options = Options.Parse(args);
    if (options.Only.Contains("script"))
    {
        await new ScriptLayer(options, TimeProvider.System).RunAsync(Path.Combine(Workload.Repository(), "scripts"));
    }

    if (options.Only.Any(layer => layer != "script"))
    {
        using var path = new WholePath(options, TimeProvider.System);
        await path.StartAsync();
        await path.RunAsync();
    }

    return 0;
}
catch (Exception e) when (e is FormatException or InvalidOperationException or HttpRequestException or System.Net.Sockets.SocketException)
{
    // Caught, so that the processes it has started are ended.
    Console.Error.WriteLine(e.Message);
    return 1;
}

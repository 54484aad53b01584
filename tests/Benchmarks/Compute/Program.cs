using System.Globalization;
using System.Runtime.InteropServices;
using ScriptedServe.ComputeBenchmarks;
using ScriptedServe.ComputeBenchmarks.Peer;
using ScriptedServe.Engine.Compute.Cpu;
using ScriptedServe.Engine.Compute.Kernels;

// dotnet run -c Release --project tests/Benchmarks/Compute -- gemm [threads] | model FOLDER [threads] | neighbours FOLDER [threads] | llama [key=value ...] | ranks [key=value ...] | steps [key=value ...]; see README.md
try
{
    switch (args)
    {
        case [] or ["gemm", ..]:
            WithLimits(args.Skip(1), GemmBenchmark.Run);
            return 0;
        case ["model", var folder, ..]:
            WithLimits(args.Skip(2), (measure, team, bandwidth, _) => ModelBenchmark.Run(measure, folder, team.Threads, bandwidth));
            return 0;
        case ["neighbours", var folder, ..]:
            await NeighbourBenchmark.RunAsync(folder, ThreadsOf(args.Skip(2)));
            return 0;
        case ["decode", var folder, var count]:
            NeighbourBenchmark.Decode(folder, ThreadsOf([count]));
            return 0;
        case ["ranks", ..]:
            WithFiles(Options.Parse(args.Skip(1)), static (options, files) => new RankRatios(options, files, TimeProvider.System).Run());
            return 0;
        case ["steps", ..]:
            WithFiles(Options.Parse(args.Skip(1)), static (options, files) => new StepTimes(options, files, TimeProvider.System).Run());
            return 0;
        case ["llama", ..]:
            await CompareAsync(Options.Parse(args.Skip(1)));
            return 0;
        default:
            throw new FormatException($"'{args[0]}': gemm [threads], model FOLDER [threads], neighbours FOLDER [threads], llama [key=value ...], ranks [key=value ...] or steps [key=value ...] is expected");
    }
}
catch (Exception e) when (e is FormatException or InvalidOperationException)
{
    // Caught, so that what it has written is deleted.
    Console.Error.WriteLine(e.Message);
    return 1;
}

static int ThreadsOf(IEnumerable<string> arguments) =>
    arguments.FirstOrDefault() is { } count ? int.Parse(count, CultureInfo.InvariantCulture) : Environment.ProcessorCount;

static void WithLimits(IEnumerable<string> threads, Action<Measure, WorkerTeam, double, double> run)
{
    var measure = new Measure(TimeProvider.System);
    using var team = new WorkerTeam(ThreadsOf(threads));
    double bandwidth = MachineLimits.ReadBandwidth(measure, team, 256L << 20);
    double flops = MachineLimits.PeakFlops(measure, team);
    Console.WriteLine(string.Create(
        CultureInfo.InvariantCulture,
        $"{team.Threads} threads, kernels for {VectorWidths.Best}; memory read {bandwidth / 1e9:F1} GB/s, multiply-add peak {flops / 1e9:F0} GFLOP/s"));
    run(measure, team, bandwidth, flops);
}

static void WithFiles(Options options, Action<Options, ModelFiles> run)
{
    using var files = new ModelFiles(options.Folder);
    run(options, files);
}

static async Task CompareAsync(Options options)
{
    var peer = LlamaBench.Find(options.LlamaBench);
    string vectors = VectorWidths.Best.ToString();
    Console.WriteLine($"{MachineLimits.Processor}, {Environment.ProcessorCount} processors, kernels for {vectors}, {RuntimeInformation.FrameworkDescription}");
    if (peer is null)
    {
        Console.WriteLine("llama-bench is neither on PATH nor given by llama-bench=FILE: ours alone.");
    }

    using var files = new ModelFiles(options.Folder);
    await new SideBySide(options, peer, files, TimeProvider.System).RunAsync();
    if (options.Own)
    {
        new OwnRatios(options, files, TimeProvider.System).Run();
    }
}

using System.Globalization;
using ScriptedServe.ComputeBenchmarks;
using ScriptedServe.Engine.Compute.Cpu;
using ScriptedServe.Engine.Compute.Kernels;

// dotnet run -c Release --project tests/Benchmarks/Compute -- [threads] [model folder]
int threads = args.Length > 0 ? int.Parse(args[0], CultureInfo.InvariantCulture) : Environment.ProcessorCount;
var measure = new Measure(TimeProvider.System);
using var team = new WorkerTeam(threads);
double bandwidth = MachineLimits.ReadBandwidth(measure, team, 256L << 20);
double flops = MachineLimits.PeakFlops(measure, team);
Console.WriteLine(string.Create(
    CultureInfo.InvariantCulture,
    $"{threads} threads, kernels for {VectorWidths.Best}; memory read {bandwidth / 1e9:F1} GB/s, multiply-add peak {flops / 1e9:F0} GFLOP/s"));
if (args.Length > 1)
{
    ModelBenchmark.Run(measure, args[1], threads, bandwidth);
}
else
{
    GemmBenchmark.Run(measure, team, bandwidth, flops);
}

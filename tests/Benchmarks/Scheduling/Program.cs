using System.Globalization;
using ScriptedServe.Contracts.V1;
using ScriptedServe.SchedulingBenchmark;

// dotnet run -c Release --project tests/Benchmarks/Scheduling -- [vocabulary | gaps]
if (args is ["gaps"])
{
    MeasureGaps();
    return;
}

int vocab = args.Length > 0 ? int.Parse(args[0], CultureInfo.InvariantCulture) : 1024;
(string Name, Sampling Sampling)[] kinds =
[
    ("greedy", new Sampling { Temperature = 0 }),
    ("temperature, top_p", new Sampling { Temperature = 0.8f, TopP = 0.9f }),
    ("and 5 logprobs", new Sampling { Temperature = 0.8f, TopP = 0.9f, Logprobs = 5 }),
];
Console.WriteLine($"what a decode step costs besides the model, us; vocabulary {vocab}; best of short rounds");
Console.WriteLine("sampling              sequences    step   sampling   pages   rest   |  reading   bytes/token");
using (var warm = new DecodeLoad(64, vocab, kinds[^1].Sampling))
{
    // For the compiler: all code has been run often before anything is measured.
    _ = warm.Measure();
    _ = PageLoad.Measure(64);
}

foreach (var (name, sampling) in kinds)
{
    foreach (int sequences in new[] { 1, 16, 64, 256 })
    {
        using var load = new DecodeLoad(sequences, vocab, sampling);
        var (step, reading, bytes) = load.Measure();
        double sampled = load.MeasureSampling();
        double pages = PageLoad.Measure(sequences);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{name,-20} {sequences,10} {step,7:F1} {sampled,10:F1} {pages,7:F1} {step - sampled - pages,6:F1}   | {reading,8:F1} {bytes,13:F1}"));
    }
}

double inAll = await StreamLoad.MeasureAsync(64, vocab);
Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"an engine on its own thread, 64 readers that wait on others: {inAll:F2} bytes/token in the whole process"));

void MeasureGaps()
{
    Console.WriteLine("between two steps of a GPU that takes 1 ms for each, us; the CUDA runner's host side included; best of short rounds");
    Console.WriteLine("sampling              sequences   gap, one by one   gap, next step launched ahead   host works");
    foreach (var (name, sampling) in (IEnumerable<(string, Sampling)>)[("greedy", new Sampling { Temperature = 0 }), ("all of it, penalties", new Sampling { Temperature = 0.8f, TopP = 0.9f, Logprobs = 5, RepetitionPenalty = 1.1f })])
    {
        foreach (int sequences in new[] { 1, 64, 256 })
        {
            var (oneByOne, _) = DeviceLoad.Measure(sequences, overlap: false, sampling);
            var (ahead, host) = DeviceLoad.Measure(sequences, overlap: true, sampling);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name,-20} {sequences,10} {oneByOne,17:F1} {ahead,31:F1} {host,12:F1}"));
        }
    }
}

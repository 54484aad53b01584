using System.Runtime;
namespace ScriptedServe.Host.Metrics;

/// <summary>What the host's own process uses.</summary>
internal static class ProcessGauges
{
    public static IEnumerable<Instrument> All { get; } =
    [
        Rising("process_cpu_seconds_total", "CPU time of the host, user and system.", static () => Environment.CpuUsage.TotalTime.TotalSeconds),
        new Gauge("process_resident_memory_bytes", "Memory of the host that is in RAM.", static () => [([], Environment.WorkingSet)]),
        Rising("dotnet_gc_allocated_bytes_total", "Bytes allocated on the managed heap.", static () => GC.GetTotalAllocatedBytes()),
        new Gauge("dotnet_gc_heap_bytes", "Bytes of the managed heap.", static () => [([], GC.GetTotalMemory(forceFullCollection: false))]),
        new Gauge("dotnet_gc_committed_bytes", "Memory that the managed heap holds, used or not, as of its last collection.", static () => [([], GC.GetGCMemoryInfo(GCKind.Any).TotalCommittedBytes)]),
        Rising("dotnet_jit_seconds_total", "Time that the runtime spent compiling methods.", static () => JitInfo.GetCompilationTime().TotalSeconds),
        Rising("dotnet_gc_pause_seconds_total", "Time that garbage collection held all threads.", static () => GC.GetTotalPauseDuration().TotalSeconds),
        new SampledCounter(
            "dotnet_gc_collections_total",
            "Garbage collections, each counted with the oldest generation it took in.",
            static () => Enumerable.Range(0, GC.MaxGeneration + 1).Select(generation =>
                ((string[])[$"{generation}"], (double)(GC.CollectionCount(generation) - (generation < GC.MaxGeneration ? GC.CollectionCount(generation + 1) : 0)))),
            "generation"),
    ];

    private static SampledCounter Rising(string name, string help, Func<double> read) => new(name, help, () => [([], read())]);
}

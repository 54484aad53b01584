using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

public sealed partial class ModelKernelsTests
{
    [Fact]
    public void Every_kernel_asked_for_is_in_the_sources_with_as_many_parameters_and_every_kernel_of_the_sources_is_asked_for()
    {
        var sources = KernelSources.BuiltIn();
        var declared = sources.Files.Values.SelectMany(text => Declaration().Matches(text))
            .ToDictionary(match => match.Groups["name"].Value, match => match.Groups["parameters"].Success ? match.Groups["parameters"].Value.Split(',').Length : 0);
        var asked = new HashSet<string>();
        foreach (var (kv, weights) in from kv in Enum.GetValues<KvDataType>() from weights in Enum.GetValues<StoredWeights>() select (kv, weights))
        {
            var names = new ModelKernels(ComputeType.BFloat16, kv, 128, 4, GatedByGelu: false, weights, Experts: true, Hopper: true).Names;
            Assert.Equal(names.Distinct(), names);
            foreach (var name in names)
            {
                var parts = name.TrimEnd('>').Split('<');
                Assert.Equal(declared[parts[0]], parts.Length == 1 ? 0 : parts[1].Split(',').Length);
                asked.Add(parts[0]);
            }
        }

        Assert.Equal(declared.Keys.Order(), asked.Order());
    }

    [Fact]
    public void The_whole_source_includes_every_kernel_and_every_include_is_there()
    {
        var sources = KernelSources.BuiltIn();
        Assert.Equal(sources.Files.Keys.Count(name => name.EndsWith(".cu", StringComparison.Ordinal)), Include().Count(sources.Whole()));
        Assert.All(sources.Files.Values.Append(sources.Whole()).SelectMany(text => Include().Matches(text)), match => Assert.Contains(match.Groups[1].Value, sources.Files.Keys));
    }

    [Fact]
    public void Kernels_are_included_once_each_however_they_include_each_other()
    {
        // A file that another one includes must say so, or its kernels would be defined twice.
        var sources = KernelSources.BuiltIn();
        var included = sources.Files.Values.SelectMany(text => Include().Matches(text)).Select(match => match.Groups[1].Value).Distinct();
        Assert.All(included, name => Assert.Contains("#pragma once", sources.Files[name], StringComparison.Ordinal));
    }

    [Fact]
    public void Structures_have_the_sizes_of_the_libraries_headers()
    {
        Assert.Equal(64, Unsafe.SizeOf<MatmulAlgorithm>());
        Assert.Equal(96, Unsafe.SizeOf<MatmulHeuristic>());
    }

    [GeneratedRegex(@"(template <(?<parameters>[^>]+)>\s+)?__global__ void (__launch_bounds__\([^\n]*\) )?(?<name>\w+)\(")]
    private static partial Regex Declaration();

    [GeneratedRegex("#include \"([^\"]+)\"")]
    private static partial Regex Include();
}

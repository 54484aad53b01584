using System.Diagnostics;
using ScriptedServe.Engine.Sampling;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>
/// The CUDA kernels' own sources, compiled as C++ with an emulation of the GPU (tests/CudaKernels) and held to naive oracles there; races, reads of memory that nobody
/// wrote, accesses out of bounds and barriers that not all threads reach are failures too.
/// </summary>
public sealed class EmulatedKernelTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);
    private static readonly Lazy<Task<string>> Program = new(BuildAsync);

    [RequiresTheory(Need.CppCompiler)]
    [InlineData("emulation")]
    [InlineData("rows")]
    [InlineData("gemm")]
    [InlineData("decode")]
    [InlineData("prefill")]
    [InlineData("sampling")]
    public async Task Kernels_agree_with_their_oracles_without_races(string group)
    {
        var (exitCode, output) = await RunAsync(await Program.Value, group);
        Assert.True(exitCode == 0, output);
    }

    [Fact]
    public void The_kernels_check_their_random_numbers_against_those_of_the_engine()
    {
        // The two numbers are also in tests/CudaKernels/SampleChecks.cpp.
        Assert.Equal(0.8805201978886142, CounterRandom.Uniform(0, 0));
        Assert.Equal(0.7092726480653364, CounterRandom.Uniform(1234567890123456789, 77));
    }

    /// <summary>Compiles what has changed since the last time, and returns the program's path.</summary>
    private static async Task<string> BuildAsync()
    {
        var folder = TestPaths.InRepository("artifacts", "kernel-checks");
        var (exitCode, output) = await RunAsync("bash", TestPaths.InRepository("tests", "CudaKernels", "build.sh"), folder);
        Assert.True(exitCode == 0, output);
        return Path.Combine(folder, "kernel-checks");
    }

    private static async Task<(int ExitCode, string Output)> RunAsync(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        try
        {
            var output = process.StandardOutput.ReadToEndAsync();
            var errors = process.StandardError.ReadToEndAsync();
            await process.WaitForExitAsync().WaitAsync(Patience);
            return (process.ExitCode, await output + await errors);
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill(entireProcessTree: true);
            }
        }
    }
}

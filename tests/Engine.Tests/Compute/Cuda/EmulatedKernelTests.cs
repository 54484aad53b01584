using ScriptedServe.Engine.Sampling;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>
/// The CUDA kernels' own sources, compiled as C++ with an emulation of the GPU (tests/CudaKernels) and held to naive oracles there; races, reads of memory that nobody
/// wrote, accesses out of bounds and barriers that not all threads reach are failures too.
/// </summary>
public sealed class EmulatedKernelTests
{
    [RequiresTheory(Need.CppCompiler)]
    [InlineData("emulation")]
    [InlineData("rows")]
    [InlineData("gemm")]
    [InlineData("experts")]
    [InlineData("decode")]
    [InlineData("prefill")]
    [InlineData("sampling")]
    public async Task Kernels_agree_with_their_oracles_without_races(string group)
    {
        var (exitCode, output) = await KernelEmulation.RunAsync(Path.Combine(await KernelEmulation.Folder.Value, "kernel-checks"), group);
        Assert.True(exitCode == 0, output);
    }

    [Fact]
    public void The_kernels_check_their_random_numbers_against_those_of_the_engine()
    {
        // The two numbers are also in tests/CudaKernels/SampleChecks.cpp.
        Assert.Equal(0.8805201978886142, CounterRandom.Uniform(0, 0));
        Assert.Equal(0.7092726480653364, CounterRandom.Uniform(1234567890123456789, 77));
    }
}

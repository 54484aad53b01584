using System.Text.RegularExpressions;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.KvTransport;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>
/// The kernels that NVRTC will be asked for, compiled to PTX by a compiler of CUDA that is not the one used, with no more built-in names than NVRTC has.
/// </summary>
public sealed partial class DeviceCompileTests
{
    [RequiresTheory(Need.CudaClang)]
    [InlineData("BFloat16", KvDataType.BFloat16, 128, 4, false, "Computed", true)]
    [InlineData("BFloat16", KvDataType.Float32, 80, 12, true, "Int8", false)]
    [InlineData("Float16", KvDataType.Float16, 256, 2, true, "Float8", true)]
    public async Task Every_kernel_asked_for_compiles_for_a_GPU_and_keeps_its_arrays_in_registers(
        string compute, KvDataType kv, int headStride, int group, bool gelu, string weights, bool experts)
    {
        var kernels = new ModelKernels(Enum.Parse<ComputeType>(compute), kv, headStride, group, gelu, Enum.Parse<StoredWeights>(weights), experts, Hopper: true);
        var folder = Directory.CreateTempSubdirectory("scriptedserve-device-");
        try
        {
            var sources = KernelSources.BuiltIn();
            foreach (var (name, text) in sources.Files)
            {
                await File.WriteAllTextAsync(Path.Combine(folder.FullName, name), text);
            }

            // To name a kernel is to ask for it.
            var asked = string.Join(", ", kernels.Names.Select(name => $"(const void*){name}"));
            string source = Path.Combine(folder.FullName, "asked.cu"), ptx = Path.Combine(folder.FullName, "asked.ptx");
            await File.WriteAllTextAsync(source, $"{sources.Whole()}const void* const asked[] = {{{asked}}};\n");
            var (exitCode, output) = await KernelEmulation.RunAsync("bash", TestPaths.InRepository("tests", "CudaKernels", "device.sh"), source, folder.FullName, ptx);
            Assert.True(exitCode == 0, output);
            var compiled = await File.ReadAllTextAsync(ptx);
            Assert.Equal(kernels.Names.Count(name => name.Contains('<', StringComparison.Ordinal)), Template().Count(compiled));
            Assert.DoesNotContain("__local_depot", compiled, StringComparison.Ordinal);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [GeneratedRegex(@"\.entry _Z\d+[a-z_]+I")]
    private static partial Regex Template();
}

using System.Diagnostics;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>What tests/CudaKernels/build.sh makes: the CUDA kernels for the CPU.</summary>
internal static class KernelEmulation
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <summary>The folder with the kernels' checks and the emulated GPU; compiles what has changed since the last time.</summary>
    public static Lazy<Task<string>> Folder { get; } = new(BuildAsync);

    public static async Task<(int ExitCode, string Output)> RunAsync(string program, params string[] arguments)
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

    private static async Task<string> BuildAsync()
    {
        var folder = TestPaths.InRepository("artifacts", "kernel-checks");
        var (exitCode, output) = await RunAsync("bash", TestPaths.InRepository("tests", "CudaKernels", "build.sh"), folder);
        Assert.True(exitCode == 0, output);
        return folder;
    }
}

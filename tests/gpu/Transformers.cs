using System.ComponentModel;
using System.Diagnostics;

namespace ScriptedServe.GpuChecks;

/// <summary>Hugging Face transformers on the same machine and weights, where its Python is there.</summary>
internal static class Transformers
{
    /// <returns>What a script printed, or why it could not do its work.</returns>
    public static async Task<(bool Ran, string Told)> RunAsync(string script, params string[] arguments)
    {
        try
        {
            using var python = Process.Start(new ProcessStartInfo("python3", [Path.Combine(AppContext.BaseDirectory, script), .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            var output = python.StandardOutput.ReadToEndAsync();
            var errors = python.StandardError.ReadToEndAsync();
            await python.WaitForExitAsync();
            return python.ExitCode == 0
                ? (true, (await output).TrimEnd())
                : (false, (await errors).TrimEnd().Split('\n')[^1]);
        }
        catch (Win32Exception e)
        {
            return (false, $"no python3 here ({e.Message})");
        }
    }
}

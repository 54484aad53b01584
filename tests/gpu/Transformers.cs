using System.ComponentModel;
using System.Diagnostics;

namespace ScriptedServe.GpuChecks;

/// <summary>Hugging Face transformers on the same machine and weights, where its Python is there.</summary>
internal static class Transformers
{
    /// <returns>What the script measured, or why it could not.</returns>
    public static async Task<string> CompareAsync(string folder, string script)
    {
        try
        {
            using var python = Process.Start(new ProcessStartInfo("python3", [script, folder]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            var output = python.StandardOutput.ReadToEndAsync();
            var errors = python.StandardError.ReadToEndAsync();
            await python.WaitForExitAsync();
            return python.ExitCode == 0
                ? (await output).TrimEnd()
                : $"transformers: not compared: {(await errors).TrimEnd().Split('\n')[^1]}";
        }
        catch (Win32Exception e)
        {
            return $"transformers: not compared: no python3 here ({e.Message})";
        }
    }
}

using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace ScriptedServe.ComputeBenchmarks.Peer;

/// <summary>Tokens a second of each repetition.</summary>
internal sealed record Speeds(IReadOnlyList<double> Prefill, IReadOnlyList<double> Decode);

/// <summary>llama.cpp's own benchmark program.</summary>
internal sealed class LlamaBench(string program)
{
    /// <summary>The program given, else the one on PATH; null if there is none.</summary>
    /// <exception cref="FormatException">The program given does not exist.</exception>
    public static LlamaBench? Find(string? given)
    {
        if (given is not null)
        {
            return File.Exists(given) ? new LlamaBench(given) : throw new FormatException($"llama-bench={given}: no such file");
        }

        string? found = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
            .Select(folder => Path.Combine(folder, OperatingSystem.IsWindows() ? "llama-bench.exe" : "llama-bench"))
            .FirstOrDefault(File.Exists);
        return found is null ? null : new LlamaBench(found);
    }

    /// <summary>Runs the program once: it warms up, then repeats a prompt of <paramref name="prompt"/> tokens and a generation of <paramref name="generated"/>.</summary>
    /// <exception cref="InvalidOperationException">It failed; says what it wrote.</exception>
    public async Task<Speeds> RunAsync(string model, int threads, int prompt, int generated, int repetitions)
    {
        string[] numbers = [.. new[] { threads, prompt, generated, repetitions }.Select(number => number.ToString(CultureInfo.InvariantCulture))];
        var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string argument in new[] { "-m", model, "-t", numbers[0], "-p", numbers[1], "-n", numbers[2], "-r", numbers[3], "-ngl", "0", "-o", "json" })
        {
            start.ArgumentList.Add(argument);
        }

        using var process = Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start");
        var errors = process.StandardError.ReadToEndAsync();
        string output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"{program} {string.Join(' ', start.ArgumentList)} ended with {process.ExitCode}: {await errors}");
        }

        using var results = JsonDocument.Parse(output);
        IReadOnlyList<double> Samples(string count) =>
        [
            .. results.RootElement.EnumerateArray()
                .Where(result => result.GetProperty(count).GetInt32() > 0)
                .SelectMany(result => result.GetProperty("samples_ts").EnumerateArray())
                .Select(sample => sample.GetDouble()),
        ];
        return new Speeds(Samples("n_prompt"), Samples("n_gen"));
    }
}

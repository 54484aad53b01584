using ScriptedServe.Engine.Compute.Synthetic;
using ScriptedServe.Engine.Options;

namespace ScriptedServe.Engine.Profiling;

/// <summary><c>engine profile</c>: loads the model as an engine would, measures it, prints a table and writes the file.</summary>
internal static class ProfileCommand
{
    /// <returns>The exit code: 0, or 1 if the model or the file failed.</returns>
    public static async Task<int> RunAsync(EngineOptions options, ProfileOptions profile, TextWriter output, TextWriter errors, TimeProvider time)
    {
        try
        {
            using var pace = new StepPace(time);
            using var runner = EngineModel.Load(options, EngineModel.OpenGpu, pace, errors, time);
            var measured = await Profiler.RunAsync(runner, options, profile, time);
            await output.WriteAsync(ProfileTable.Of(measured));
            if (profile.Out is { } path)
            {
                // Whoever reads the file while it is replaced sees the one or the other.
                var partial = path + ".partial";
                await File.WriteAllTextAsync(partial, measured.ToJson() + "\n");
                File.Move(partial, path, overwrite: true);
                await output.WriteLineAsync($"\nwritten to {path}");
            }

            return 0;
        }
        catch (Exception e) when (EngineModel.IsTold(e))
        {
            await errors.WriteLineAsync($"engine: {e.Message}");
            return 1;
        }
    }
}

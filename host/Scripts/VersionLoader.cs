using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts;

/// <summary>Compiles the text of a version and brings it up to the point where it could serve. Nothing is published.</summary>
/// <param name="globals">Makes the globals of a version from its name and number.</param>
internal sealed class VersionLoader(CompileQueue queue, Func<string, int, RouterGlobals> globals, ScriptCalls calls, ScriptLimits limits)
{
    /// <summary>Compiles, then runs the top-level statements and OnLoad. The version's diagnostics, options and clock are set.</summary>
    /// <param name="options">Values for the script's Options, above the configured ones; null leaves them.</param>
    /// <returns>The script, or null if there were errors; then, and when this throws, nothing of it is left.</returns>
    public async Task<LoadedScript?> Load(RouterVersion version, IReadOnlyDictionary<string, string>? options, CancellationToken cancellationToken)
    {
        var compiled = await queue.Compile(version.Source, version.Label, cancellationToken);
        version.Diagnostics = compiled.Diagnostics;
        if (compiled.Assembly is null)
        {
            return null;
        }

        var given = globals(version.Name, version.Number);
        version.Options = given.Options as RouterOptionValues;
        version.Clock = given.Time as ScriptClock;
        if (options is not null)
        {
            version.Options?.Activate(options);
        }

        LoadedScript? script = null;
        try
        {
            script = await LoadedScript.Load(compiled, given, version.Label, calls, TimeSpan.FromMilliseconds(limits.LoadMs), cancellationToken);
            return script;
        }
        catch (RouterLoadException e)
        {
            version.Diagnostics = [.. compiled.Diagnostics, e.Diagnostic];
            return null;
        }
        finally
        {
            if (script is null)
            {
                version.Unload();
            }
        }
    }
}

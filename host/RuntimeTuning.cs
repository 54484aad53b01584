namespace ScriptedServe.Host;

/// <summary>Settings of the runtime that no file can hold.</summary>
internal static class RuntimeTuning
{
    /// <summary>
    /// What comes on a socket is dealt with on the thread that waited for it, and not on one that has to be woken first: a chunk is handed on a third sooner. See <see cref="PoolThread"/>.
    /// </summary>
    private const string InlineCompletions = "DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS";

    private static bool s_isApplied;

    /// <summary>Applies them, where the operator has not set them in the environment. Call it before anything uses a socket.</summary>
    public static void Apply()
    {
        if (Environment.GetEnvironmentVariable(InlineCompletions) is null)
        {
            Environment.SetEnvironmentVariable(InlineCompletions, "1");
            s_isApplied = true;
        }
    }

    /// <summary>Takes them out of what a process started by this one would inherit.</summary>
    public static void KeepFrom(IDictionary<string, string?> environment)
    {
        if (s_isApplied)
        {
            environment.Remove(InlineCompletions);
        }
    }
}

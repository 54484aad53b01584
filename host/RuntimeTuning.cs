namespace ScriptedServe.Host;

/// <summary>Settings of the runtime that no file can hold.</summary>
internal static class RuntimeTuning
{
    private const string PooledArrays = "DOTNET_SYSTEM_BUFFERS_SHAREDARRAYPOOL_MAXARRAYSPERPARTITION";

    /// <summary>Applies them, where the operator has not set them in the environment. Call it before anything uses the shared array pool.</summary>
    /// <remarks>
    /// An engine's step sends a token on each of its streams at once, and each stream of an HTTP/2 client rents 16 KiB for it. The pool keeps 32 arrays
    /// a core by default; what is rented beyond that is garbage, some 12 KiB a token with 256 streams on two cores.
    /// </remarks>
    public static void Apply()
    {
        if (Environment.GetEnvironmentVariable(PooledArrays) is null)
        {
            Environment.SetEnvironmentVariable(PooledArrays, "1024");
        }
    }
}

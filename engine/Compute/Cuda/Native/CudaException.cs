namespace ScriptedServe.Engine.Compute.Cuda.Native;

/// <summary>A call of the driver, NVRTC or cuBLASLt failed.</summary>
/// <param name="library">As its maker calls it.</param>
/// <param name="call">The function.</param>
/// <param name="code">What it returned; the name is the library's own.</param>
public sealed class CudaException(string library, string call, int code, string name, string text)
    : Exception($"{library}: {call} failed with {name} ({code}): {text}")
{
    public string Library { get; } = library;

    public string Call { get; } = call;

    public int Code { get; } = code;

    /// <summary>As in CUDA_ERROR_OUT_OF_MEMORY.</summary>
    public string Name { get; } = name;
}

/// <summary>This machine cannot compute on CUDA: says what is missing and where it was looked for.</summary>
public sealed class CudaUnavailableException(string message, Exception? inner = null) : Exception(message, inner);

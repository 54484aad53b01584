namespace ScriptedServe.Engine.Compute.Cuda.Compilation;

/// <summary>Kernels as the device takes them.</summary>
/// <param name="Image">A cubin.</param>
/// <param name="Names">The image's name of each kernel asked for.</param>
internal sealed record CompiledKernels(byte[] Image, IReadOnlyDictionary<string, string> Names);

/// <summary>Turns sources into an image for one architecture.</summary>
internal interface IKernelCompiler
{
    /// <summary>Changes whenever the same sources may give another image.</summary>
    string Version { get; }

    /// <param name="kernels">The kernels wanted, as C++ names them: <c>embed&lt;bf16&gt;</c>.</param>
    /// <param name="options">As on a command line.</param>
    /// <exception cref="KernelCompilationException">The sources do not compile.</exception>
    CompiledKernels Compile(KernelSources sources, IReadOnlyList<string> kernels, IReadOnlyList<string> options);
}

/// <summary>The kernels do not compile for this device; the message has the compiler's log.</summary>
public sealed class KernelCompilationException(string message) : Exception(message);

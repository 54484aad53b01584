using System.Runtime.InteropServices;
using System.Text;
using ScriptedServe.Engine.Compute.Cuda.Native;

namespace ScriptedServe.Engine.Compute.Cuda.Compilation;

/// <summary>NVRTC; its library is loaded. No device is needed to compile.</summary>
internal sealed unsafe class NvrtcCompiler : IKernelCompiler
{
    private const string ProgramName = "kernels.cu";

    public NvrtcCompiler()
    {
        Nvrtc.Check(Nvrtc.nvrtcVersion(out var major, out var minor), nameof(Nvrtc.nvrtcVersion));
        Version = $"nvrtc {major}.{minor}";
    }

    public string Version { get; }

    public CompiledKernels Compile(KernelSources sources, IReadOnlyList<string> kernels, IReadOnlyList<string> options)
    {
        using var text = new NativeStrings();
        var headers = sources.Files.OrderBy(file => file.Key, StringComparer.Ordinal).ToList();
        Nvrtc.Check(
            Nvrtc.nvrtcCreateProgram(
                out var program, text.Add(sources.Whole()), text.Add(ProgramName), headers.Count, text.Add(headers.Select(file => file.Value)), text.Add(headers.Select(file => file.Key))),
            nameof(Nvrtc.nvrtcCreateProgram));
        try
        {
            foreach (var kernel in kernels)
            {
                Nvrtc.Check(Nvrtc.nvrtcAddNameExpression(program, kernel), $"{nameof(Nvrtc.nvrtcAddNameExpression)} of {kernel}");
            }

            var code = Nvrtc.nvrtcCompileProgram(program, options.Count, text.Add(options));
            if (code == Nvrtc.CompilationFailed)
            {
                throw new KernelCompilationException($"the CUDA kernels do not compile with {Version}, options {string.Join(' ', options)}:\n{Log(program)}");
            }

            Nvrtc.Check(code, nameof(Nvrtc.nvrtcCompileProgram));
            return new CompiledKernels(Image(program), kernels.ToDictionary(kernel => kernel, kernel => LoweredName(program, kernel), StringComparer.Ordinal));
        }
        finally
        {
            _ = Nvrtc.nvrtcDestroyProgram(ref program);
        }
    }

    private static string LoweredName(nint program, string kernel)
    {
        Nvrtc.Check(Nvrtc.nvrtcGetLoweredName(program, kernel, out var name), $"{nameof(Nvrtc.nvrtcGetLoweredName)} of {kernel}");
        return Marshal.PtrToStringUTF8((nint)name)!;
    }

    private static byte[] Image(nint program)
    {
        Nvrtc.Check(Nvrtc.nvrtcGetCUBINSize(program, out var bytes), nameof(Nvrtc.nvrtcGetCUBINSize));
        var image = new byte[(int)bytes];
        fixed (byte* pointer = image)
        {
            Nvrtc.Check(Nvrtc.nvrtcGetCUBIN(program, pointer), nameof(Nvrtc.nvrtcGetCUBIN));
        }

        return image;
    }

    private static string Log(nint program)
    {
        Nvrtc.Check(Nvrtc.nvrtcGetProgramLogSize(program, out var bytes), nameof(Nvrtc.nvrtcGetProgramLogSize));
        var log = new byte[(int)bytes];
        fixed (byte* pointer = log)
        {
            Nvrtc.Check(Nvrtc.nvrtcGetProgramLog(program, pointer), nameof(Nvrtc.nvrtcGetProgramLog));
        }

        return Encoding.UTF8.GetString(log).TrimEnd('\0');
    }

    /// <summary>UTF-8 texts at fixed addresses, as long as this lives.</summary>
    private sealed class NativeStrings : IDisposable
    {
        private readonly List<nint> _blocks = [];

        public byte* Add(string text)
        {
            var block = Marshal.StringToCoTaskMemUTF8(text);
            _blocks.Add(block);
            return (byte*)block;
        }

        public byte** Add(IEnumerable<string> texts)
        {
            var pointers = texts.Select(text => (nint)Add(text)).ToArray();
            var block = Marshal.AllocCoTaskMem(Math.Max(1, pointers.Length) * sizeof(nint));
            _blocks.Add(block);
            Marshal.Copy(pointers, 0, block, pointers.Length);
            return (byte**)block;
        }

        public void Dispose() => _blocks.ForEach(Marshal.FreeCoTaskMem);
    }
}

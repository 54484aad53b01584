using System.Runtime.InteropServices;

namespace ScriptedServe.Engine.Compute.Cuda.Native;

/// <summary>The part of NVRTC (nvrtc.h), the compiler at run time, in use. Every function but the one that explains codes returns an nvrtcResult.</summary>
internal static unsafe partial class Nvrtc
{
    public const int Success = 0;

    /// <summary>NVRTC_ERROR_COMPILATION: the log says why.</summary>
    public const int CompilationFailed = 6;

    private const string Library = "nvrtc";

    [LibraryImport(Library)]
    public static partial byte* nvrtcGetErrorString(int code);

    [LibraryImport(Library)]
    public static partial int nvrtcVersion(out int major, out int minor);

    [LibraryImport(Library)]
    public static partial int nvrtcCreateProgram(out nint program, byte* source, byte* name, int headerCount, byte** headers, byte** includeNames);

    [LibraryImport(Library)]
    public static partial int nvrtcDestroyProgram(ref nint program);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int nvrtcAddNameExpression(nint program, string expression);

    [LibraryImport(Library)]
    public static partial int nvrtcCompileProgram(nint program, int optionCount, byte** options);

    /// <summary>The name belongs to the program.</summary>
    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int nvrtcGetLoweredName(nint program, string expression, out byte* name);

    [LibraryImport(Library)]
    public static partial int nvrtcGetProgramLogSize(nint program, out nuint bytes);

    [LibraryImport(Library)]
    public static partial int nvrtcGetProgramLog(nint program, byte* log);

    [LibraryImport(Library)]
    public static partial int nvrtcGetCUBINSize(nint program, out nuint bytes);

    [LibraryImport(Library)]
    public static partial int nvrtcGetCUBIN(nint program, byte* image);

    /// <exception cref="CudaException">The code is not success.</exception>
    public static void Check(int code, string call)
    {
        if (code != Success)
        {
            // NVRTC's text is the name itself.
            var name = Marshal.PtrToStringUTF8((nint)nvrtcGetErrorString(code)) ?? "unknown";
            throw new CudaException("NVRTC", call, code, name, "see the CUDA toolkit's NVRTC documentation");
        }
    }
}

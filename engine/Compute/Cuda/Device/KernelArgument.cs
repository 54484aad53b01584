using System.Runtime.CompilerServices;

namespace ScriptedServe.Engine.Compute.Cuda.Device;

/// <summary>The bytes of one argument of a kernel, as C++ passes them by value.</summary>
internal unsafe struct KernelArgument
{
    private const int MaxBytes = 32;

    private fixed long _bytes[MaxBytes / sizeof(long)];

    public static implicit operator KernelArgument(int value) => Of(value);

    public static implicit operator KernelArgument(float value) => Of(value);

    public static implicit operator KernelArgument(double value) => Of(value);

    /// <summary>A pointer, or a size_t.</summary>
    public static implicit operator KernelArgument(nint value) => Of(value);

    /// <summary>Null: a null pointer.</summary>
    public static KernelArgument Pointer(IGpuMemory? memory) => Of(memory?.Value ?? 0);

    /// <summary>A structure that C++ declares with the same members.</summary>
    public static KernelArgument Of<T>(T value)
        where T : unmanaged
    {
        if (sizeof(T) > MaxBytes)
        {
            throw new ArgumentException($"{typeof(T).Name} has {sizeof(T)} bytes; an argument has at most {MaxBytes}");
        }

        KernelArgument argument = default;
        Unsafe.WriteUnaligned(argument._bytes, value);
        return argument;
    }
}

internal static unsafe class KernelCalls
{
    private const int MaxArguments = 24;

    /// <summary>Of every device, but for the first dimension.</summary>
    private const int MaxGrid = 65535;

    /// <summary>Launches with the arguments in the order of the kernel's parameters. A grid without blocks is not launched.</summary>
    /// <exception cref="ArgumentException">No device has such a grid: what grows with the step belongs into the first dimension.</exception>
    public static void Call(this IGpu gpu, Kernel kernel, Extent grid, params ReadOnlySpan<KernelArgument> arguments)
    {
        if (grid.X == 0 || grid.Y == 0 || grid.Z == 0)
        {
            return;
        }

        if (grid.Y > MaxGrid || grid.Z > MaxGrid || arguments.Length >= MaxArguments)
        {
            throw new ArgumentException($"a launch of {grid} blocks with {arguments.Length} arguments: at most {MaxGrid} blocks in the second and third dimension, and {MaxArguments - 1} arguments");
        }

        var pointers = stackalloc void*[MaxArguments];
        fixed (KernelArgument* first = arguments)
        {
            for (var i = 0; i < arguments.Length; i++)
            {
                pointers[i] = first + i;
            }

            gpu.Launch(kernel.Function, grid, new Extent(kernel.Threads), kernel.SharedBytes, pointers);
        }
    }
}

/// <summary>A kernel ready to be launched.</summary>
/// <param name="Threads">Of a block.</param>
/// <param name="SharedBytes">Of a block.</param>
internal readonly record struct Kernel(nint Function, int Threads, int SharedBytes);

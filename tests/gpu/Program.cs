using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.GpuChecks;

// gpu-checks MODELS_FOLDER [CUDA_LIBRARIES_FOLDER...]: everything that only a GPU can show of the CUDA kernels. Ends with 0 if all is right, 1 if a check failed, 3 if there is no GPU.
const int Failed = 1, WrongArguments = 2, NoGpu = 3;
if (args.Length == 0 || !Directory.Exists(args[0]))
{
    Console.Error.WriteLine("usage: gpu-checks MODELS_FOLDER [CUDA_LIBRARIES_FOLDER...]");
    return WrongArguments;
}

try
{
    CudaLibraries.Load(new LibraryFinder("/", Environment.GetEnvironmentVariable), args[1..], CudaLibraries.All);
    using (var device = GpuDevice.Open(0))
    {
        Console.WriteLine($"{device.Description}, {device.MemoryInfo().Total >> 20} MiB, {new NvrtcCompiler().Version}");
    }
}
catch (CudaUnavailableException e)
{
    Console.Error.WriteLine($"no GPU here: {e.Message} (A folder given as an argument is looked in first.)");
    return NoGpu;
}

int failures = 0;
foreach (string folder in Directory.GetDirectories(args[0]).Order(StringComparer.Ordinal))
{
    try
    {
        Console.WriteLine(ModelCheck.Run(folder, OpenGpu));
    }
    catch (NotSupportedException e)
    {
        Console.WriteLine($"{Path.GetFileName(folder)}: not for these kernels: {e.Message}");
    }
    catch (Exception e) when (e is CheckFailedException or CudaException or KernelCompilationException)
    {
        failures++;
        Console.WriteLine($"FAILED {Path.GetFileName(folder)}: {e.Message}");
    }
}

using (var gpu = OpenGpu(new ModelKernels(ComputeType.BFloat16, ScriptedServe.KvTransport.KvDataType.BFloat16, 128, 4, GatedByGelu: false)))
{
    foreach (string line in Bandwidth.Measure(gpu, TimeProvider.System))
    {
        Console.WriteLine(line);
    }
}

Console.WriteLine(failures == 0 ? "all checks passed" : $"{failures} checks failed");
return failures == 0 ? 0 : Failed;

IGpu OpenGpu(ModelKernels kernels) => CudaGpu.Open(0, args[1..], kernels, Environment.GetEnvironmentVariable);

using ScriptedServe.Contracts;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Caching;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.Engine.Compute.Synthetic;
using ScriptedServe.Engine.Options;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine;

/// <summary>The model of an engine's options, on their device.</summary>
internal static class EngineModel
{
    /// <summary>The GPU of --device by its driver.</summary>
    public static IGpu OpenGpu(EngineOptions options, ModelKernels kernels) =>
        CudaGpu.Open(options.CudaOrdinal!.Value, options.CudaLibraries, kernels, Environment.GetEnvironmentVariable);

    /// <summary>Loads the model that the options name, as they say it is to be computed.</summary>
    /// <param name="openGpu">Asked where the device is a GPU.</param>
    public static IModelRunner Load(EngineOptions options, Func<EngineOptions, ModelKernels, IGpu> openGpu, StepPace pace, TextWriter errors, TimeProvider time)
    {
        if (SyntheticModel.IsNamedBy(options.Model))
        {
            return options.CudaOrdinal is null
                ? new SyntheticModelRunner(
                    SyntheticModel.Parse(options.Model), options.PageTokens, options.Limits.MaxBatchTokens, pace.Spend, options.KvDataType ?? KvDataType.Float32)
                : throw new NotSupportedException($"--model {SyntheticModel.Name} computes nothing, so no GPU can: leave --device {options.Device} out");
        }

        return options.CudaOrdinal is null ? OnCpu(options, errors, time) : OnGpu(options, openGpu);
    }

    /// <summary>The message of the exception tells a user why the engine cannot start.</summary>
    public static bool IsTold(Exception e) => e is ModelLoadException or CudaUnavailableException or CudaException or KernelCompilationException or IOException or FormatException or ArgumentException
        or NotSupportedException or UnauthorizedAccessException or OutOfMemoryException;

    private static CpuModelRunner OnCpu(EngineOptions options, TextWriter errors, TimeProvider time) => CpuModelRunner.Load(options.Model, new CpuRunnerOptions
    {
        TensorParallel = options.TensorParallel,
        Threads = options.Threads,
        Processors = options.Processors,
        Weights = options.Weights,
        WeightCache = options.WeightCache is { } folder
            ? new WeightCache(folder, options.WeightCacheLimitBytes, time, line => errors.WriteLine($"engine: {line}"))
            : null,
        PageTokens = options.PageTokens,
        KvDataType = options.KvDataType ?? KvDataType.Float32,
        MaxBatchTokens = options.Limits.MaxBatchTokens,
    });

    private static CudaModelRunner OnGpu(EngineOptions options, Func<EngineOptions, ModelKernels, IGpu> openGpu)
    {
        try
        {
            return CudaModelLoader.Load(
                options.Model,
                new CudaRunnerOptions
                {
                    PageTokens = options.PageTokens,
                    KvDataType = options.KvDataType,
                    MaxBatchTokens = options.Limits.MaxBatchTokens,
                    MaxSequences = options.Limits.MaxSequences,
                    Weights = options.Weights,
                    ManyRows = options.CudaGemm,
                    TensorParallel = options.TensorParallel,
                    KvMemoryBytes = options.KvMemoryBytes,
                },
                (kernels, rank) => openGpu(options with { Device = EngineOptions.CudaDevice(options.CudaOrdinal!.Value + rank) }, kernels));
        }
        catch (Exception e) when (e is NotSupportedException or CudaUnavailableException or CudaException)
        {
            throw new CudaUnavailableException($"--device {options.Device}: {e.Message}", e);
        }
    }
}

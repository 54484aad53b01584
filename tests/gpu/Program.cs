using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.GpuChecks;

// gpu-checks MODELS_FOLDER WORK_FOLDER [CUDA_LIBRARIES_FOLDER...]: everything that only a GPU can show. WORK_FOLDER takes the big model, 16 GB. Ends with 0 if all is right, 1 if a check failed, 3 if there is no
// GPU.
const int Failed = 1, WrongArguments = 2, NoGpu = 3;
if (args.Length < 2 || !Directory.Exists(args[0]))
{
    Console.Error.WriteLine("usage: gpu-checks MODELS_FOLDER WORK_FOLDER [CUDA_LIBRARIES_FOLDER...]");
    return WrongArguments;
}

string[] libraries = args[2..];
double matrixRate;
try
{
    CudaLibraries.Load(new LibraryFinder("/", Environment.GetEnvironmentVariable), libraries, CudaLibraries.All);
    using var device = GpuDevice.Open(0);
    Console.WriteLine($"{device.Description}, {device.MemoryInfo().Total >> 20} MiB, {new NvrtcCompiler().Version}, {TimeProvider.System.GetUtcNow():u}");
    matrixRate = MatrixRate.Measure(device);
    Console.WriteLine(MatrixRate.Tell(matrixRate));
}
catch (CudaUnavailableException e)
{
    Console.Error.WriteLine($"no GPU here: {e.Message} (A folder given as an argument is looked in first.)");
    return NoGpu;
}

int failures = 0;
var bars = new Bars();
foreach (string folder in Directory.GetDirectories(args[0]).Order(StringComparer.Ordinal))
{
    await CheckAsync(Path.GetFileName(folder), () => Task.FromResult<IEnumerable<string>>([ModelCheck.Run(folder, OpenGpu)]));
}

foreach (var (name, weights) in from name in (string[])["llama31-bf16", "qwen3moe-bf16"] from weights in (WeightFormat[])[WeightFormat.Int8, WeightFormat.Float8] select (name, weights))
{
    await CheckAsync($"{name} in {weights}", () => Task.FromResult<IEnumerable<string>>([ModelCheck.Run(Path.Combine(args[0], name), OpenGpu, weights)]));
}

string made = Path.Combine(args[1], "made");
var (isMade, why) = await Transformers.RunAsync("transformers_folders.py", Path.GetFullPath(args[0]), made);
Console.WriteLine(isMade ? $"random-weight folders made here, with what transformers computes for them:\n{why}" : $"random-weight folders: not made here, the golden models stand for them: {why}");
foreach (string folder in isMade ? Directory.GetDirectories(made).Order(StringComparer.Ordinal) : Enumerable.Empty<string>())
{
    await CheckAsync(Path.GetFileName(folder), () => Task.FromResult<IEnumerable<string>>([ModelCheck.Run(folder, OpenGpu)]));
}

await CheckAsync("prefill and decode in two processes", async () =>
{
    using var pair = await EnginePair.StartAsync(Path.Combine(args[0], "llama31-bf16"), libraries, "--kv-memory", "64MiB");
    return [await pair.CheckSplitAsync(vocab: 100, [5, 40, 60], generated: 8)];
});

double copyRate = 0;
await CheckAsync("memory", () =>
{
    using var gpu = OpenGpu(new ModelKernels(ComputeType.BFloat16, ScriptedServe.KvTransport.KvDataType.BFloat16, 128, 4, GatedByGelu: false));
    return Task.FromResult<IEnumerable<string>>(Bandwidth.Measure(gpu, TimeProvider.System, out copyRate));
});

Console.WriteLine($"writing {BigModel.Shape.Name} ({BigModel.Shape.Parameters / 1_000_000} million weights) to {args[1]}");
string big = BigModel.Make(args[1]);
await CheckAsync("steps", () => Task.FromResult(StepBenchmark.Run(big, new(), OpenGpu, copyRate, matrixRate, TimeProvider.System)));
await CheckAsync("steps, many rows by wgmma", () => Task.FromResult(StepBenchmark.Run(big, new() { ManyRows = ManyRowProducts.Hopper }, OpenGpu, copyRate, matrixRate, TimeProvider.System)));
await CheckAsync("steps, many rows by cuBLASLt", () => Task.FromResult(StepBenchmark.Run(big, new() { ManyRows = ManyRowProducts.CublasLt }, OpenGpu, copyRate, matrixRate, TimeProvider.System)));
await CheckAsync("steps in int8", () => Task.FromResult(StepBenchmark.Run(big, new() { Weights = WeightFormat.Int8 }, OpenGpu, copyRate, matrixRate, TimeProvider.System)));
await CheckAsync("steps in fp8", () => Task.FromResult(StepBenchmark.Run(big, new() { Weights = WeightFormat.Float8 }, OpenGpu, copyRate, matrixRate, TimeProvider.System)));
await CheckAsync("engines", async () =>
{
    int vocab = BigModel.Shape.Vocab;
    using var pair = await EnginePair.StartAsync(big, libraries, "--kv-memory", "12GiB", "--max-batch-tokens", "2048", "--max-sequences", "64");
    return (IEnumerable<string>)
    [
        await pair.CheckSplitAsync(vocab, [100, 3000], generated: 16),
        .. await pair.MeasureTransferAsync(vocab, 8192, copyRate, bars),
        await pair.MeasureThroughputAsync(vocab, requests: 1, length: 1024, generated: 128, TimeProvider.System),
        await pair.MeasureThroughputAsync(vocab, requests: 64, length: 1024, generated: 128, TimeProvider.System),
    ];
});
await CheckAsync("gaps", () => HostGap.RunAsync(big, OpenGpu, BigModel.Shape.Vocab, bars, TimeProvider.System));
await CheckAsync("engines over TCP", async () =>
{
    using var pair = await EnginePair.StartAsync(big, libraries, "--kv-memory", "4GiB", "--max-batch-tokens", "2048", "--max-sequences", "4", "--kv-transport", "tcp");
    return [await pair.CheckSplitAsync(BigModel.Shape.Vocab, [100], generated: 16), .. await pair.MeasureTransferAsync(BigModel.Shape.Vocab, 4096, copyRate, bars)];
});
var (measured, told) = await Transformers.RunAsync("transformers_speed.py", big);
Console.WriteLine(measured ? told : $"transformers: not compared: {told}");
Console.WriteLine($"{(failures == 0 ? "all checks passed" : $"{failures} checks failed")}, {bars.Missed} bars missed");
return failures == 0 ? 0 : Failed;

async Task CheckAsync(string name, Func<Task<IEnumerable<string>>> check)
{
    try
    {
        foreach (string line in await check())
        {
            Console.WriteLine(line);
        }
    }
    catch (NotSupportedException e)
    {
        Console.WriteLine($"{name}: not for these kernels: {e.Message}");
    }
    catch (Exception e)
    {
        // What one check met must not keep the others from being seen.
        failures++;
        Console.WriteLine($"FAILED {name}: {(e is CheckFailedException or CudaException or CudaUnavailableException or KernelCompilationException ? e.Message : e)}");
    }
}

IGpu OpenGpu(ModelKernels kernels) => CudaGpu.Open(0, libraries, kernels, Environment.GetEnvironmentVariable);

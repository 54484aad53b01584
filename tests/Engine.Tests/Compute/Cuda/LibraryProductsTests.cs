using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Cuda.Native;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>Many rows by a library in place of our own kernels: --cuda-gemm cublaslt. The library is a naive one.</summary>
public sealed class LibraryProductsTests : IDisposable
{
    private static readonly ProductShape Shape = new(64, 48, ComputeType.BFloat16, Floats: true, Bias: false);
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("scriptedserve-products-");

    public void Dispose() => _folder.Delete(recursive: true);

    [RequiresFact(Need.CppCompiler)]
    public async Task A_library_multiplies_many_rows_and_changes_nothing_but_their_order_of_sums()
    {
        var gpu = new EmulatedGpu(await KernelEmulation.Folder.Value);
        int[] tokens = [.. Enumerable.Range(0, 23).Select(i => (i * 37 + 5) % 211)];
        float[] Run(ManyRowProducts many)
        {
            using var runner = CudaModels.Load(gpu, "qwen2-bf16-sharded", many: many);
            var (pool, sequences) = CudaModels.Deal(runner, [tokens], 2, new Random(1));
            using var _ = pool;
            PagedSequence.Step(runner, pool, [(sequences[0], 23, true)]);
            return sequences[0].Logits[tokens.Length - 1];
        }

        float[] own = Run(ManyRowProducts.Own);
        Assert.Equal(0, gpu.LibraryProducts);
        float[] library = Run(ManyRowProducts.CublasLt);
        // Four of each layer; the logits are of one row.
        Assert.Equal(4 * 3, gpu.LibraryProducts);
        Assert.All(own.Zip(library), pair => Assert.Equal(pair.First, pair.Second, 0.2));
        Assert.Equal(0, gpu.Live);
    }

    [RequiresFact(Need.CppCompiler)]
    public async Task Products_of_sm_90s_own_instructions_are_taken_for_many_rows_and_change_no_bit()
    {
        const int Rows = 130, Inputs = 504, Outputs = 300;
        var gpu = new EmulatedGpu(await KernelEmulation.Folder.Value);
        float[] Multiply(bool hopper)
        {
            var names = new ModelKernels(ComputeType.BFloat16, KvTransport.KvDataType.BFloat16, 16, 3, GatedByGelu: false, Hopper: hopper);
            var config = ModelFamilies.Read(ConfigDocument.Read(Path.Combine(GoldenModels.Folder("llama31-bf16"), "config.json")));
            using var products = new CudaProducts(gpu, new StepKernels(gpu, names), config, ComputeType.BFloat16, hopper ? ManyRowProducts.Hopper : ManyRowProducts.Own, maxRows: 64);
            using IGpuMemory weights = gpu.Allocate(2 * Inputs * Outputs), inputs = gpu.Allocate(2 * Inputs * Rows), outputs = gpu.Allocate(4 * Rows * Outputs);
            var random = new Random(3);
            foreach (var memory in (IGpuMemory[])[weights, inputs])
            {
                ushort[] numbers = [.. Enumerable.Range(0, (int)memory.Bytes / 2).Select(_ => (ushort)((random.Next(0x10000) & 0x80ff) | 0x3f00))];
                Upload(gpu, numbers, memory);
            }

            products.Multiply(new CudaMatrix(weights, null, null, Outputs, Inputs), inputs, outputs, floats: true, Rows);
            return Read(outputs, Rows * Outputs);
        }

        var own = Multiply(hopper: false);
        Assert.DoesNotContain(own, float.IsNaN);
        Assert.Equal(own, Multiply(hopper: true));
        Assert.Equal(0, gpu.Live);

        using var recorder = new RecordingGpu();
        var recorded = new StepKernels(recorder, new ModelKernels(ComputeType.BFloat16, KvTransport.KvDataType.BFloat16, 16, 3, GatedByGelu: false, Hopper: true));
        new HopperCheck(recorder, recorded).Run();
        Assert.Equal(1, recorder.Log.Count(entry => entry == "hopper_gemm 1,1,1"));
        Assert.Equal([true, false, true, false], ((int[])[512, 256, 4096, 768]).Select(HopperCheck.Takes));
    }

    [Fact]
    public void Algorithms_are_found_when_a_model_is_loaded_and_used_for_many_rows_alone()
    {
        using var gpu = new RecordingGpu();
        using var runner = CudaModels.Load(gpu, "llama31-bf16", many: ManyRowProducts.CublasLt);
        Assert.Equal(["tune 160x48 32,64", "tune 48x96 32,64", "tune 144x48 32,64", "tune 48x72 32,64"], gpu.Log.Where(entry => entry.StartsWith("tune", StringComparison.Ordinal)));
        using var pool = new CudaKvPool(gpu, runner.Layout, 8);
        string[] Products(int count)
        {
            gpu.Log.Clear();
            runner.Forward([new StepSlice(new int[count], 0, new[] { 0, 1, 2, 3, 4 }, WantsLogits: true)], pool, new float[runner.Model.VocabSize], observer: null);
            return [.. gpu.Log.Where(entry => entry.Contains("gemm", StringComparison.Ordinal) || entry.Contains("library", StringComparison.Ordinal)).Take(2)];
        }

        Assert.Equal(["library 160x48 17", "library 48x96 17"], Products(17));
        Assert.Equal(["skinny_gemm 10,1,1", "skinny_gemm 3,1,1"], Products(16));
    }

    [Fact]
    public void KV_that_a_library_had_part_in_does_not_mix_with_other_KV()
    {
        string Name(ManyRowProducts many)
        {
            using var runner = CudaModelLoader.Load(GoldenModels.Folder("llama31-bf16"), new CudaRunnerOptions { ManyRows = many, MaxBatchTokens = 16 }, _ => new RecordingGpu());
            return runner.Layout.ModelId;
        }

        Assert.NotEqual(Name(ManyRowProducts.Own), Name(ManyRowProducts.CublasLt));
    }

    [Fact]
    public void What_was_fastest_once_is_known_to_the_next_process_on_the_same_machine()
    {
        var cache = Cache();
        Assert.Null(cache.Find(Shape, 64));
        cache.Add(Shape, 64, Algorithm(1));
        cache.Add(Shape, 512, Algorithm(2));
        cache.Add(Shape with { Bias = true }, 512, Algorithm(3));
        cache.Save();
        Assert.Equal(Bytes(Algorithm(1)), Bytes(Cache().Find(Shape, 64)!.Value));
        Assert.Null(Cache().Find(Shape, 65));
        Assert.Equal([Bytes(Algorithm(2))], Cache().From(Shape, 65).Select(Bytes));
        Assert.Equal([Bytes(Algorithm(1)), Bytes(Algorithm(2))], Cache().From(Shape, 64).Select(Bytes));
        Assert.Null(Cache("other driver").Find(Shape, 64));
    }

    [Fact]
    public void A_file_of_algorithms_that_is_damaged_anywhere_is_as_good_as_none()
    {
        var cache = Cache();
        cache.Add(Shape, 64, Algorithm(1));
        cache.Save();
        var path = Assert.Single(Directory.GetFiles(_folder.FullName));
        var whole = File.ReadAllBytes(path);
        for (int at = 0; at < whole.Length - 1; at += 5)
        {
            var damaged = (byte[])whole.Clone();
            damaged[at] ^= 1;
            File.WriteAllBytes(path, damaged);
            Assert.Null(Cache().Find(Shape, 64));
        }

        File.WriteAllBytes(path, whole[..(whole.Length / 2)]);
        Assert.Null(Cache().Find(Shape, 64));
        File.WriteAllBytes(path, []);
        Assert.Null(Cache().Find(Shape, 64));
    }

    private static unsafe void Upload(EmulatedGpu gpu, ushort[] numbers, IGpuMemory memory)
    {
        fixed (ushort* first = numbers)
        {
            gpu.Upload(first, memory, 0, memory.Bytes);
        }
    }

    private static unsafe float[] Read(IGpuMemory memory, int count) => new ReadOnlySpan<float>((void*)memory.Value, count).ToArray();

    private AlgorithmCache Cache(string machine = "device, driver, library") => new(_folder.FullName, machine);

    private static unsafe MatmulAlgorithm Algorithm(byte number)
    {
        MatmulAlgorithm algorithm = default;
        new Span<byte>(algorithm.Data, 64).Fill(number);
        return algorithm;
    }

    private static unsafe string Bytes(MatmulAlgorithm algorithm) => Convert.ToHexString(new ReadOnlySpan<byte>(algorithm.Data, 64));
}

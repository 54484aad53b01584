using System.Globalization;
using System.Text.Json;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cuda;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.KvTransport;

namespace ScriptedServe.GpuChecks;

/// <summary>What the GPU computed is not what it must be.</summary>
internal sealed class CheckFailedException(string message) : Exception(message);

/// <summary>
/// One model folder against the log-probabilities that transformers computes for it (FOLDER.cases.json): prompts as one chunk, then token by token as recorded steps; and the same
/// again, which must give the same bits.
/// </summary>
internal static class ModelCheck
{
    private const int PageTokens = 16, MaxBatchTokens = 512, Steps = 8;

    /// <summary>Median difference of log-probabilities that rounding of activations explains, as the emulation measures it.</summary>
    private const double ToleranceBFloat16 = 0.06, ToleranceFloat16 = 0.008;

    /// <summary>The same with weights of 8 bits, which are rounded too.</summary>
    private const double ToleranceOfCodes = 0.8;

    /// <param name="open">Opens the GPU with the model's kernels.</param>
    /// <returns>A line that tells what was measured.</returns>
    public static string Run(string folder, Func<ModelKernels, IGpu> open, WeightFormat weights = WeightFormat.Auto)
    {
        string name = Path.GetFileName(folder);
        var config = ModelFamilies.Read(ConfigDocument.Read(Path.Combine(folder, "config.json")));
        using var checkpoint = Checkpoint.Open(folder);
        var kernels = CudaModelLoader.KernelsOf(config, checkpoint, kv: null, weights);
        bool half = kernels.Compute == ComputeType.Float16;
        var model = new ModelDescription(name, config.VocabSize, config.ContextLength, []) { ShortContext = config.ShortContext };
        var layout = new KvLayout(name, config.Layers, config.KvHeads, config.HeadStride, PageTokens, kernels.Kv);
        var gpu = open(kernels);
        using var runner = CudaModelRunner.Load(gpu, model, layout, config, checkpoint, kernels, StepLimits.Of(config, MaxBatchTokens, maxSequences: 1, poolTokens: 0));
        var differences = new List<double>();
        using var document = JsonDocument.Parse(File.ReadAllBytes(folder + ".cases.json"));
        foreach (var golden in document.RootElement.GetProperty("cases").EnumerateArray())
        {
            int[] prompt = Numbers(golden.GetProperty("prompt")), expected = Numbers(golden.GetProperty("expected_ids"));
            // Longer sequences would change their kind on the way.
            if (prompt.Length + Steps > Math.Min(Math.Min(config.ContextLength, config.ShortContext), MaxBatchTokens) || expected.Length < Steps)
            {
                continue;
            }

            var first = Generate(gpu, runner, [.. prompt, .. expected[..Steps]], prompt.Length);
            var second = Generate(gpu, runner, [.. prompt, .. expected[..Steps]], prompt.Length);
            if (!first.Zip(second).All(pair => pair.First.AsSpan().SequenceEqual(pair.Second)))
            {
                throw new CheckFailedException("the same prompt gave other logits the second time");
            }

            differences.AddRange(golden.GetProperty("top_logprobs").EnumerateArray().Take(Steps).Zip(first).SelectMany(pair => Differences(pair.First, pair.Second)));
        }

        if (differences.Count == 0)
        {
            return $"{name}: no case that is short enough";
        }

        differences.Sort();
        double median = differences[differences.Count / 2], tolerance = weights != WeightFormat.Auto ? ToleranceOfCodes : half ? ToleranceFloat16 : ToleranceBFloat16;
        string measured = string.Create(CultureInfo.InvariantCulture, $"{differences.Count} log-probabilities, median difference {median:E1}, largest {differences[^1]:E1}");
        return median <= tolerance ? $"ok {name} ({weights}): {measured}, repeatable bit for bit" : throw new CheckFailedException($"{measured}; at most {tolerance} is rounding");
    }

    /// <summary>Logits after the prompt and after each token behind it but the last.</summary>
    private static List<float[]> Generate(IGpu gpu, CudaModelRunner runner, int[] tokens, int promptLength)
    {
        int[] pages = [.. Enumerable.Range(0, (tokens.Length + PageTokens - 1) / PageTokens).Reverse()];
        using var pool = new CudaKvPool(gpu, runner.Layout, pages.Length);
        var logits = new List<float[]>();
        for (int position = 0; position < tokens.Length - 1;)
        {
            int count = position == 0 ? promptLength : 1;
            var own = new float[runner.Model.VocabSize];
            runner.Forward([new StepSlice(tokens.AsMemory(position, count), position, pages, WantsLogits: true)], pool, own, observer: null);
            logits.Add(own);
            position += count;
        }

        return logits;
    }

    private static IEnumerable<double> Differences(JsonElement top, float[] logits)
    {
        double max = logits.Max(), log = max + Math.Log(logits.Sum(value => Math.Exp(value - max)));
        return top.EnumerateArray().Select(pair => Math.Abs(pair[1].GetDouble() - (logits[pair[0].GetInt32()] - log)));
    }

    private static int[] Numbers(JsonElement array) => [.. array.EnumerateArray().Select(element => element.GetInt32())];
}

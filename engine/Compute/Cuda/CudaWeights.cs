using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>A matrix <c>[outputs, inputs]</c> of the compute type on the device, and its bias or null.</summary>
internal sealed record CudaMatrix(IGpuMemory Weights, IGpuMemory? Bias, int Outputs, int Inputs);

/// <summary>One block's weights; norms are f32 with the 1 of families that add one added. Null where the model has no such part.</summary>
internal sealed record CudaBlock(
    IGpuMemory AttentionNorm, CudaMatrix Qkv, IGpuMemory? QueryNorm, IGpuMemory? KeyNorm, CudaMatrix AttentionOutput, IGpuMemory? PostAttentionNorm,
    IGpuMemory FeedForwardNorm, CudaMatrix GateUp, CudaMatrix Down, IGpuMemory? PostFeedForwardNorm);

/// <summary>
/// A model's weights on the device, in its compute type. Rows pass through one pinned buffer, converted on the way where the checkpoint has them in another type; the
/// checkpoint can be closed after loading. Owns all of its memory.
/// </summary>
internal sealed unsafe class CudaWeights : IDisposable
{
    private const long StagingBytes = 16 << 20;
    private const int ElementBytes = 2;

    private readonly IGpu _gpu;
    private readonly Checkpoint _checkpoint;
    private readonly ComputeType _compute;
    private readonly IGpuMemory _staging;
    private readonly List<IGpuMemory> _memory = [];

    private CudaWeights(IGpu gpu, DecoderConfig config, Checkpoint checkpoint, ComputeType compute)
    {
        (_gpu, _checkpoint, _compute) = (gpu, checkpoint, compute);
        // A row passes whole.
        _staging = Keep(gpu.AllocatePinned(Math.Max(StagingBytes, 8L * Math.Max(config.Hidden, Math.Max(config.FeedForward, config.QuerySize)))));
        try
        {
            var names = config.Names;
            Embedding = Matrix("", [names.Embedding], [config.VocabSize], config.Hidden, bias: false);
            EmbeddingScale = DecoderWeights.ScaleOfEmbeddings(config, checkpoint);
            Blocks = [.. Enumerable.Range(0, config.Layers).Select(layer => Block(config, names.Block(layer)))];
            FinalNorm = Norm(names.FinalNorm, config.Hidden, config);
            Output = config.TiedEmbeddings ? Embedding : Matrix("", [names.Output], [config.VocabSize], config.Hidden, bias: false);
            _memory.Remove(_staging);
            _staging.Dispose();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public CudaMatrix Embedding { get; }

    public float EmbeddingScale { get; }

    public IReadOnlyList<CudaBlock> Blocks { get; }

    public IGpuMemory FinalNorm { get; }

    /// <summary><see cref="Embedding"/> itself where the two are tied.</summary>
    public CudaMatrix Output { get; }

    /// <exception cref="ModelLoadException">A tensor is missing, has the wrong shape or type, or elements that are not finite.</exception>
    public static CudaWeights Load(IGpu gpu, DecoderConfig config, Checkpoint checkpoint, ComputeType compute) =>
        new(gpu, config with { Names = config.Names.In(checkpoint, config) }, checkpoint, compute);

    public void Dispose()
    {
        _memory.ForEach(memory => memory.Dispose());
        _memory.Clear();
    }

    private CudaBlock Block(DecoderConfig config, string block)
    {
        var names = config.Names;
        IGpuMemory? NormIf(bool present, string name, int length) => present ? Norm(block + name, length, config) : null;
        return new CudaBlock(
            Norm(block + names.AttentionNorm, config.Hidden, config),
            Matrix(block, names.Qkv, names.Qkv.Count == 1 ? [config.QuerySize + 2 * config.KvSize] : [config.QuerySize, config.KvSize, config.KvSize], config.Hidden, config.QkvBias),
            NormIf(config.QueryKeyNorm, names.QueryNorm, config.HeadDim),
            NormIf(config.QueryKeyNorm, names.KeyNorm, config.HeadDim),
            Matrix(block, [names.AttentionOutput], [config.Hidden], config.QuerySize, config.OutputBias),
            NormIf(config.PostNorms, names.PostAttentionNorm, config.Hidden),
            Norm(block + names.FeedForwardNorm, config.Hidden, config),
            Matrix(block, names.GateUp, names.GateUp.Count == 1 ? [2 * config.FeedForward] : [config.FeedForward, config.FeedForward], config.Hidden, config.FeedForwardBias),
            Matrix(block, [names.Down], [config.Hidden], config.FeedForward, config.FeedForwardBias),
            NormIf(config.PostNorms, names.PostFeedForwardNorm, config.Hidden));
    }

    /// <summary>Tensors one below the other.</summary>
    private CudaMatrix Matrix(string prefix, IReadOnlyList<string> names, int[] outputs, int inputs, bool bias)
    {
        TensorView[] parts = [.. names.Select((name, i) => _checkpoint.Matrix($"{prefix}{name}.weight", outputs[i], inputs))];
        TensorView[] biases = bias ? [.. names.Select((name, i) => _checkpoint.Vector($"{prefix}{name}.bias", outputs[i]))] : [];
        return new CudaMatrix(Rows(parts), bias ? Rows(biases) : null, outputs.Sum(), inputs);
    }

    private IGpuMemory Norm(string name, int length, DecoderConfig config)
    {
        var tensor = _checkpoint.Vector(name + ".weight", length);
        tensor.CheckFinite(0);
        var values = new Span<float>((float*)_staging.Value, length);
        tensor.ReadRow(0, values);
        foreach (ref float value in values)
        {
            value += config.NormsAddOne ? 1 : 0;
        }

        var memory = Keep(_gpu.Allocate(length * sizeof(float)));
        _gpu.Upload((void*)_staging.Value, memory, 0, length * sizeof(float));
        _gpu.Wait();
        return memory;
    }

    private IGpuMemory Rows(TensorView[] parts)
    {
        var memory = Keep(_gpu.Allocate(parts.Sum(part => (long)part.Rows * part.Columns) * ElementBytes));
        var values = new float[parts.Max(part => part.Columns)];
        long done = 0;
        foreach (var part in parts)
        {
            int rowBytes = part.Columns * ElementBytes;
            int rowsAtATime = (int)(_staging.Bytes / rowBytes);
            for (int row = 0; row < part.Rows; row += rowsAtATime)
            {
                int count = Math.Min(rowsAtATime, part.Rows - row);
                for (int i = 0; i < count; i++)
                {
                    part.CheckFinite(row + i);
                    Convert(part, row + i, values, new Span<ushort>((byte*)_staging.Value + (long)i * rowBytes, part.Columns));
                }

                _gpu.Upload((void*)_staging.Value, memory, done, (long)count * rowBytes);
                _gpu.Wait();
                done += (long)count * rowBytes;
            }
        }

        return memory;
    }

    private void Convert(in TensorView tensor, int row, float[] values, Span<ushort> target)
    {
        if (tensor.Type == (_compute == ComputeType.BFloat16 ? WeightType.BFloat16 : WeightType.Float16))
        {
            new ReadOnlySpan<byte>(tensor.Row(row), target.Length * ElementBytes).CopyTo(MemoryMarshal.AsBytes(target));
            return;
        }

        tensor.ReadRow(row, values);
        for (int i = 0; i < target.Length; i++)
        {
            target[i] = _compute == ComputeType.BFloat16 ? BFloat16.Round(values[i]) : BitConverter.HalfToUInt16Bits((Half)values[i]);
        }
    }

    private IGpuMemory Keep(IGpuMemory memory)
    {
        _memory.Add(memory);
        return memory;
    }
}

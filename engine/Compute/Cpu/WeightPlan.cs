using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using ScriptedServe.Engine.Compute.Caching;
using ScriptedServe.Engine.Compute.Checkpoints;
using ScriptedServe.Engine.Compute.Cpu.Ranks;
using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu;

/// <summary>
/// The matrices of a model, one behind the other in memory, before any is packed: what is known of a checkpoint from its headers alone. Once filled, the
/// matrices have their weights.
/// </summary>
/// <param name="share">Of whose matrices these are.</param>
internal sealed unsafe class WeightPlan(RankShare share)
{
    /// <summary>Rows that a thread checks at a time.</summary>
    private const int CheckedRows = 64;

    private readonly List<Entry> _entries = [];

    /// <summary>Of all matrices.</summary>
    public long Bytes { get; private set; }

    /// <summary>A matrix that has its weights after <see cref="Fill"/>.</summary>
    /// <param name="parts">Its rows come from these, in this order.</param>
    /// <param name="biases">One vector a part, or none.</param>
    public PackedMatrix Add(IReadOnlyList<TensorView> parts, IReadOnlyList<TensorView> biases, PanelFormat format)
    {
        var packing = new PanelPacking(parts, format);
        var matrix = new PackedMatrix(packing.Outputs, packing.Inputs, format);
        _entries.Add(new Entry(matrix, packing, parts, biases, Bytes));
        Bytes += (matrix.MemoryBytes + PackedMatrix.Alignment - 1) / PackedMatrix.Alignment * PackedMatrix.Alignment;
        return matrix;
    }

    /// <summary>Gives the matrices their weights: those of the cache, if there is one and it can be used, else packed now.</summary>
    /// <param name="identity">Of the checkpoint.</param>
    /// <returns>What holds the weights; the caller's.</returns>
    /// <exception cref="ModelLoadException">A tensor has elements that are not finite.</exception>
    public WeightMemory Fill(WeightCache? cache, Checkpoint checkpoint, string identity, WorkerTeam team)
    {
        var memory = cache?.Open(Key(checkpoint, identity), Bytes, team.Threads, target => Pack(target, team)) ?? PackPrivately(team);
        foreach (var entry in _entries)
        {
            entry.Matrix.Bind(memory.Pointer + entry.Offset);
        }

        return memory;
    }

    private WeightMemory PackPrivately(WorkerTeam team)
    {
        var memory = WeightMemory.Private(Bytes);
        try
        {
            Pack(new MemoryTarget(memory), team);
            return memory;
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    private void Pack(IWeightTarget target, WorkerTeam team)
    {
        foreach (var entry in _entries)
        {
            foreach (var tensor in entry.Parts.Concat(entry.Biases))
            {
                team.For((tensor.Rows + CheckedRows - 1) / CheckedRows, (block, _) =>
                {
                    for (int row = block * CheckedRows; row < Math.Min(tensor.Rows, (block + 1) * CheckedRows); row++)
                    {
                        tensor.CheckFinite(row);
                    }
                });
            }

            int panelBytes = checked((int)entry.Matrix.PanelBytes);
            team.For(entry.Matrix.PanelCount, (panel, worker) =>
            {
                long offset = entry.Offset + (long)panel * panelBytes;
                entry.Packing.Pack(panel, target.Begin(offset, panelBytes, worker));
                target.End(offset, panelBytes, worker);
            });
            PackBias(entry, target);
        }
    }

    private static void PackBias(Entry entry, IWeightTarget target)
    {
        if (entry.Biases.Count == 0)
        {
            return;
        }

        long offset = entry.Offset + entry.Matrix.Bytes;
        int bytes = entry.Matrix.BiasBytes;
        var values = new Span<float>(target.Begin(offset, bytes, 0), bytes / sizeof(float));
        foreach (var bias in entry.Biases)
        {
            bias.ReadRow(0, values);
            values = values[bias.Columns..];
        }

        target.End(offset, bytes, 0);
    }

    /// <summary>
    /// Of everything that packed weights depend on. The identity samples large files, so their lengths and times of change count too: weights that were
    /// edited in place are packed anew, a copy of a folder once more than needed.
    /// </summary>
    private byte[] Key(Checkpoint checkpoint, string identity)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        void Append(params ReadOnlySpan<long> numbers)
        {
            Span<byte> bytes = stackalloc byte[sizeof(long)];
            foreach (long number in numbers)
            {
                BinaryPrimitives.WriteInt64LittleEndian(bytes, number);
                hash.AppendData(bytes);
            }
        }

        hash.AppendData(Encoding.UTF8.GetBytes(identity));
        foreach (var shard in checkpoint.Shards)
        {
            Append(shard.Length, shard.Changed.Ticks);
        }

        foreach (var entry in _entries)
        {
            Append(entry.Matrix.Outputs, entry.Matrix.Inputs, (long)entry.Matrix.Format, entry.Offset);
        }

        if (!share.IsWhole)
        {
            Append(share.Rank, share.Ranks);
        }

        return hash.GetHashAndReset();
    }

    private sealed record Entry(PackedMatrix Matrix, PanelPacking Packing, IReadOnlyList<TensorView> Parts, IReadOnlyList<TensorView> Biases, long Offset);
}

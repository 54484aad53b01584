using System.Security.Cryptography;

namespace ScriptedServe.Engine.Compute.Checkpoints;

/// <summary>
/// Names weights by content, so that KV computed from different weights never mixes: a hash over config.json, the headers and the data of
/// every safetensors file. Of large files only evenly spaced blocks are read, which keeps start-up fast; fine-tuning changes nearly every weight.
/// </summary>
internal static class CheckpointIdentity
{
    private const long WholeFileBytes = 16L << 20;
    private const int SampledBlocks = 1024;
    private const int BlockBytes = 4096;

    /// <summary>16 hex digits.</summary>
    public static string Compute(ConfigDocument config, Checkpoint checkpoint)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(File.ReadAllBytes(config.FilePath));
        foreach (var shard in checkpoint.Shards)
        {
            Append(hash, shard, 0, shard.DataStart);
            long dataBytes = shard.Length - shard.DataStart;
            if (dataBytes <= WholeFileBytes)
            {
                Append(hash, shard, shard.DataStart, dataBytes);
                continue;
            }

            long stride = (dataBytes - BlockBytes) / (SampledBlocks - 1);
            for (int block = 0; block < SampledBlocks; block++)
            {
                Append(hash, shard, shard.DataStart + block * stride, BlockBytes);
            }
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset().AsSpan(0, 8));
    }

    private static void Append(IncrementalHash hash, SafetensorsFile shard, long offset, long count)
    {
        for (long done = 0; done < count;)
        {
            int chunk = (int)Math.Min(count - done, 1 << 20);
            hash.AppendData(shard.Bytes(offset + done, chunk));
            done += chunk;
        }
    }
}

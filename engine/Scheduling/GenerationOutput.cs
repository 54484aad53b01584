using System.Runtime.CompilerServices;
using System.Threading.Channels;
using ScriptedServe.Contracts.V1;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>
/// Chunks on their way from the engine to the reader of one generation. The engine writes only while there is room, so a slow reader pauses its
/// own sequence and nothing else. One writer, one reader.
/// </summary>
/// <param name="capacity">Chunks that may lie unread.</param>
/// <param name="roomAgain">Called on the reader's thread when a full output has room again.</param>
public sealed class GenerationOutput(int capacity, Action roomAgain)
{
    private readonly Channel<GenerateChunk> _chunks = Channel.CreateUnbounded<GenerateChunk>(new() { SingleReader = true, SingleWriter = true });
    private int _unread;

    public bool HasRoom => Volatile.Read(ref _unread) < capacity;

    /// <summary>Appends a chunk. The last one is taken even where there is no room.</summary>
    public void Write(GenerateChunk chunk)
    {
        Interlocked.Increment(ref _unread);
        _ = _chunks.Writer.TryWrite(chunk);
    }

    /// <summary>Ends the output; with an error, the reader gets it after the chunks written so far.</summary>
    public void Complete(Exception? error = null) => _chunks.Writer.TryComplete(error);

    public async IAsyncEnumerable<GenerateChunk> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        while (await _chunks.Reader.WaitToReadAsync(cancellationToken))
        {
            while (_chunks.Reader.TryRead(out var chunk))
            {
                if (Interlocked.Decrement(ref _unread) == capacity - 1)
                {
                    roomAgain();
                }

                yield return chunk;
                cancellationToken.ThrowIfCancellationRequested();
            }
        }
    }
}

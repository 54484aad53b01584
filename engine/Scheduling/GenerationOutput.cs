using System.Runtime.CompilerServices;
using System.Threading.Channels;
using ScriptedServe.Contracts.V1;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>
/// Chunks on their way from the engine to the reader of one generation. The engine writes only while there is room, so a slow reader pauses its
/// own sequence and nothing else. One writer, one reader. A chunk that was read is written anew, so that a stream that is read allocates nothing.
/// </summary>
/// <param name="capacity">Chunks that may lie unread.</param>
/// <param name="roomAgain">Called on the reader's thread when a full output has room again.</param>
public sealed class GenerationOutput(int capacity, Action roomAgain)
{
    private readonly Channel<GenerateChunk> _chunks = Channel.CreateUnbounded<GenerateChunk>(new() { SingleReader = true, SingleWriter = true });
    private readonly Stack<GenerateChunk> _read = new();
    private int _unread;

    /// <summary>So many chunks more may lie unread.</summary>
    public bool HasRoomFor(int chunks) => Volatile.Read(ref _unread) + chunks <= capacity;

    /// <summary>A chunk to fill and <see cref="Write"/>: without tokens; what it has of log-probabilities is of an earlier one and to be filled again.</summary>
    public GenerateChunk NewChunk()
    {
        lock (_read)
        {
            return _read.TryPop(out var chunk) ? chunk : new GenerateChunk();
        }
    }

    /// <summary>Appends a chunk. The last one is taken even where there is no room.</summary>
    public void Write(GenerateChunk chunk)
    {
        Interlocked.Increment(ref _unread);
        _ = _chunks.Writer.TryWrite(chunk);
    }

    /// <summary>Ends the output; with an error, the reader gets it after the chunks written so far.</summary>
    public void Complete(Exception? error = null) => _chunks.Writer.TryComplete(error);

    /// <summary>The chunks in order. Each is the reader's until it asks for the next one.</summary>
    public async IAsyncEnumerable<GenerateChunk> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        // Waiting with the token would allocate for each wait; so the token ends the channel.
        using var cancel = cancellationToken.UnsafeRegister(
            static (output, token) => ((GenerationOutput)output!).Complete(new OperationCanceledException(token)), this);
        while (await _chunks.Reader.WaitToReadAsync(CancellationToken.None))
        {
            while (_chunks.Reader.TryRead(out var chunk))
            {
                if (Interlocked.Decrement(ref _unread) == capacity - 1)
                {
                    roomAgain();
                }

                yield return chunk;
                cancellationToken.ThrowIfCancellationRequested();
                chunk.TokenIds.Clear();
                lock (_read)
                {
                    _read.Push(chunk);
                }
            }
        }
    }
}

using System.Runtime.CompilerServices;
using ScriptedServe.Contracts.V1;

namespace ScriptedServe.Contracts;

/// <summary>
/// One chunk of a generation. Nearly all of them are a token and nothing else, and those are told without a message, so that reading them allocates
/// nothing.
/// </summary>
/// <param name="Token">If <paramref name="Chunk"/> is null: the chunk's one token.</param>
/// <param name="Chunk">Any other chunk.</param>
public readonly record struct GenerateItem(int Token, GenerateChunk? Chunk)
{
    internal static async IAsyncEnumerable<GenerateItem> OfAsync(IAsyncEnumerable<GenerateChunk> chunks, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var chunk in chunks.WithCancellation(cancellationToken))
        {
            yield return new GenerateItem(0, chunk);
        }
    }
}

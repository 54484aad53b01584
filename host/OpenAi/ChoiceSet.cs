using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace ScriptedServe.Host.OpenAi;

/// <summary>The choices of one response, run side by side. Disposing it ends all that still run.</summary>
internal sealed class ChoiceSet(IReadOnlyList<Choice> choices) : IAsyncDisposable
{
    /// <summary>Pieces that may wait for a slow client before the generations have to.</summary>
    private const int WaitingPieces = 64;

    public int CompletionTokens => choices.Sum(choice => choice.CompletionTokens);

    /// <summary>The pieces of all choices as they come, each choice's in order. The first failure ends them all.</summary>
    public IAsyncEnumerable<Piece> Pieces(CancellationToken cancellationToken) =>
        choices.Count == 1 ? choices[0].Pieces(cancellationToken) : MergeAsync(cancellationToken);

    /// <summary>Of each prompt's tokens, those an engine had cached for its first choice; null where that is not known of every prompt.</summary>
    public int? CachedTokens(int choicesOfPrompt) =>
        choices.Where((_, i) => i % choicesOfPrompt == 0).Aggregate((int?)0, (sum, choice) => sum + choice.CachedTokens);

    public async ValueTask DisposeAsync()
    {
        foreach (var choice in choices)
        {
            await choice.DisposeAsync();
        }
    }

    private async IAsyncEnumerable<Piece> MergeAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var pieces = Channel.CreateBounded<Piece>(new BoundedChannelOptions(WaitingPieces) { SingleReader = true });
        var running = choices.Count;
        var pumps = choices.Select(PumpAsync).ToArray();
        try
        {
            await foreach (var piece in pieces.Reader.ReadAllAsync(cancellationToken))
            {
                yield return piece;
            }
        }
        finally
        {
            await stop.CancelAsync();
            await Task.WhenAll(pumps);
        }

        async Task PumpAsync(Choice choice)
        {
            try
            {
                await foreach (var piece in choice.Pieces(stop.Token))
                {
                    await pieces.Writer.WriteAsync(piece, stop.Token);
                }

                if (Interlocked.Decrement(ref running) == 0)
                {
                    pieces.Writer.Complete();
                }
            }
            catch (Exception e)
            {
                // The reader gets the first failure; those that follow from it are dropped.
                pieces.Writer.TryComplete(e);
                await stop.CancelAsync();
            }
        }
    }
}

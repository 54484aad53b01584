using System.Runtime.CompilerServices;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Text;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.OpenAi;

/// <summary>A generated token and where its text begins, in characters (code points) from the completion's start.</summary>
internal readonly record struct TokenEntry(int Token, TokenLogprob Logprob, int TextOffset);

/// <summary>Some text of a choice that is certain, and its tokens where log-probabilities are asked for.</summary>
/// <param name="FinishReason">Set on a choice's last piece only: stop or length.</param>
internal readonly record struct Piece(int Choice, string Text, IReadOnlyList<TokenEntry> Tokens, string? FinishReason);

/// <summary>
/// One generation turned into text: decodes incrementally, leaves out end and special tokens, cuts at stop strings and then ends the
/// generation at once. Owns its running request. Not thread-safe.
/// </summary>
internal sealed class Choice(int index, RunningRequest running, ITokenizer tokenizer, IReadOnlyList<string> stops, bool withLogprobs) : IAsyncDisposable
{
    private readonly IIncrementalDecoder _decoder = tokenizer.CreateDecoder();
    private readonly StopMatcher _stop = new(stops);
    private readonly List<(TokenEntry Entry, int Start)> _entries = [];
    private readonly TextParts _text = new();
    private int _decodedLength;
    private int _decodedCharacters;
    private int _emittedLength;
    private bool _isDisposed;

    /// <summary>Generated so far and counted, the end token included.</summary>
    public int CompletionTokens { get; private set; }

    /// <summary>Told with the generation's last chunk; null if a stop string cut it before.</summary>
    public int? CachedTokens { get; private set; }

    public async IAsyncEnumerable<Piece> Pieces([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await using var chunks = running.Chunks(cancellationToken).GetAsyncEnumerator(cancellationToken);
        string? finish = null;
        var isCut = false;
        while (finish is null)
        {
            if (!await chunks.MoveNextAsync())
            {
                throw new RouterFailedException($"The router {running.Router} ended its stream without a finish reason.");
            }

            var chunk = chunks.Current;
            finish = Accept(chunk);
            isCut = finish is not null && chunk.FinishReason is null;
            if (finish is null && _text.Length > 0)
            {
                yield return TakePiece(null);
            }
        }

        if (isCut)
        {
            // The engine stops and its pages come back before the client is told.
            await chunks.DisposeAsync();
            await DisposeAsync();
            yield return TakePiece(finish);
            yield break;
        }

        yield return TakePiece(finish);
        await RunToEndAsync(chunks);
        await DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            await running.DisposeAsync();
        }
    }

    /// <summary>A router may have work to do after its last chunk; should that fail, the client has its answer all the same.</summary>
    private static async Task RunToEndAsync(IAsyncEnumerator<Chunk> chunks)
    {
        try
        {
            while (await chunks.MoveNextAsync())
            {
            }
        }
        catch (Exception e) when (e is EngineException or RouterFailedException)
        {
            // The runner has it in the request's trace.
        }
    }

    /// <summary>Takes the chunk's text in, and returns the reason if it is the last that counts.</summary>
    private string? Accept(Chunk chunk)
    {
        if (chunk.FinishReason == FinishReason.Abort)
        {
            throw new OpenAiException(500, "The request was aborted on its engine.", null, "request_aborted");
        }

        var tokens = chunk.Tokens.Span;
        var hasEndToken = chunk.FinishReason == FinishReason.Stop && tokens.Length > 0;
        var texts = hasEndToken ? tokens[..^1] : tokens;
        if (stops.Count == 0 && !withLogprobs)
        {
            CompletionTokens += texts.Length;
            _text.Append(_decoder.Push(texts));
        }
        else
        {
            for (var i = 0; i < texts.Length && !_stop.IsMatched; i++)
            {
                CompletionTokens++;
                if (withLogprobs && i < chunk.Logprobs.Count)
                {
                    _entries.Add((new(texts[i], chunk.Logprobs[i], _decodedCharacters), _decodedLength));
                }

                Append(_decoder.Push(texts.Slice(i, 1)));
            }
        }

        if (chunk.FinishReason is not null && !_stop.IsMatched)
        {
            CompletionTokens += hasEndToken ? 1 : 0;
            Append(_decoder.Flush());
            _text.Append(_stop.Flush());
        }

        CachedTokens = chunk.Usage?.CachedTokens;
        return _stop.IsMatched || chunk.FinishReason == FinishReason.Stop ? "stop" : chunk.FinishReason == FinishReason.Length ? "length" : null;
    }

    private void Append(string decoded)
    {
        _decodedLength += decoded.Length;
        foreach (var c in decoded)
        {
            _decodedCharacters += char.IsLowSurrogate(c) ? 0 : 1;
        }

        _text.Append(_stop.Push(decoded));
    }

    /// <summary>The gathered text, with the tokens whose text has begun in it; at the end all tokens but those cut off by a stop string.</summary>
    private Piece TakePiece(string? finish)
    {
        var text = _text.Take();
        _emittedLength += text.Length;
        if (_entries.Count == 0)
        {
            return new(index, text, [], finish);
        }

        var isWhole = finish is not null && !_stop.IsMatched;
        var ready = isWhole ? _entries.Count : _entries.TakeWhile(entry => entry.Start < _emittedLength).Count();
        var tokens = _entries.Take(ready).Select(entry => entry.Entry).ToList();
        _entries.RemoveRange(0, ready);
        return new(index, text, tokens, finish);
    }
}

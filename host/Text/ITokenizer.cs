namespace ScriptedServe.Host.Text;

/// <summary>Text to token ids and back, as one model's tokenizer.json says. Thread-safe.</summary>
public interface ITokenizer
{
    /// <summary>One past the largest token id.</summary>
    int VocabSize { get; }

    /// <param name="addSpecialTokens">Apply the post-processor (a leading BOS, where the model has one). Special tokens written out in the text are recognised either way.</param>
    int[] Encode(string text, bool addSpecialTokens);

    /// <summary>The bytes of a token as they appear in text; empty for a special token.</summary>
    string Decode(ReadOnlySpan<int> tokens, bool skipSpecialTokens = true);

    /// <summary>The token as shown in logprobs: its text, and its exact bytes.</summary>
    (string Text, byte[] Bytes) Describe(int token);

    /// <summary>A decoder for one stream. It holds back bytes that do not yet make a whole character.</summary>
    IIncrementalDecoder CreateDecoder(bool skipSpecialTokens = true);
}

/// <summary>Turns a stream of tokens into text; the pieces joined equal the whole decoded at once. Not thread-safe.</summary>
public interface IIncrementalDecoder
{
    /// <summary>The text that became certain with these tokens; may be empty.</summary>
    string Push(ReadOnlySpan<int> tokens);

    /// <summary>What is still held back; bytes that never became a character come as U+FFFD.</summary>
    string Flush();
}

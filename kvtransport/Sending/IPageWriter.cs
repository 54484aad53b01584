namespace ScriptedServe.KvTransport.Sending;

/// <summary>How a session's pages get to the receiver. One call at a time.</summary>
internal interface IPageWriter : IDisposable
{
    string Transport { get; }

    /// <summary>Writes one layer of [begin, end) from the local pool.</summary>
    /// <param name="pages">Page i holds positions from (begin / pageTokens + i) * pageTokens on.</param>
    /// <returns>Bytes written; 0 if the receiver needs no more.</returns>
    ValueTask<long> WriteAsync(int layer, ReadOnlyMemory<int> pages, int begin, int end, CancellationToken cancellationToken);
}

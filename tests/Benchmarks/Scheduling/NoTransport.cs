using ScriptedServe.KvTransport;

namespace ScriptedServe.SchedulingBenchmark;

/// <summary>KV stays where it is in these benchmarks.</summary>
internal sealed class NoReceiver : IKvReceiver
{
    public IKvGrant Grant(string reservationId, ReadOnlySpan<int> pages, int begin, int end, Action<IKvGrant>? arrived) => throw new NotSupportedException();

    public ValueTask DisposeAsync() => default;
}

/// <summary>As <see cref="NoReceiver"/>.</summary>
internal sealed class NoSender : IKvSender
{
    public Task<IKvSendSession> OpenAsync(ReadOnlyMemory<byte> address, CancellationToken cancellationToken) => throw new NotSupportedException();

    public ValueTask DisposeAsync() => default;
}

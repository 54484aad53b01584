using ScriptedServe.KvTransport.MessagePack;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Receiving;

/// <summary>A connection that has not shown yet that it is of the cluster.</summary>
internal sealed class Newcomer
{
    /// <summary>Completes when it is to make room for another.</summary>
    public TaskCompletionSource Stopped { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes when it is no newcomer any more: it was let in, or it is closed.</summary>
    public TaskCompletionSource Left { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
}

/// <summary>
/// Where the connections of one listener wait until they have shown that they are of the cluster; steps as numbered at <see cref="Message"/>. Anybody can come
/// here, so they are few, hold little, and have little time; one more than may wait ends the oldest, so that those who stay silent keep nobody out.
/// </summary>
internal sealed class Doorway(ClusterProof proof, KvEndpointOptions options)
{
    private readonly Lock _gate = new();
    private readonly LinkedList<Newcomer> _newcomers = [];

    public int Count
    {
        get
        {
            lock (_gate)
            {
                return _newcomers.Count;
            }
        }
    }

    /// <summary>Makes room for one more; <see cref="Leave"/> follows.</summary>
    public async ValueTask<Newcomer> EnterAsync()
    {
        while (OldestIfFull() is { } oldest)
        {
            oldest.Stopped.TrySetResult();
            await oldest.Left.Task;
        }

        var newcomer = new Newcomer();
        lock (_gate)
        {
            _newcomers.AddLast(newcomer);
        }

        return newcomer;
    }

    public void Leave(Newcomer newcomer)
    {
        lock (_gate)
        {
            _newcomers.Remove(newcomer);
        }

        newcomer.Left.SetResult();
    }

    /// <summary>(0) of the protocol. Never fails.</summary>
    /// <returns>False if it is not of the cluster, which it was told, or did not say in time.</returns>
    public async Task<bool> IsOfClusterAsync(FrameStream stream, Newcomer newcomer, CancellationToken shutdown)
    {
        using var limit = new CancellationTokenSource(options.HandshakeTimeout, options.TimeProvider);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, shutdown);
        var challenged = ChallengeAsync(stream, either.Token);
        if (await Task.WhenAny(challenged, newcomer.Stopped.Task) != challenged)
        {
            await either.CancelAsync();
        }

        return await challenged;
    }

    private async Task<bool> ChallengeAsync(FrameStream stream, CancellationToken cancellationToken)
    {
        Exception? refusal;
        try
        {
            var challenge = ClusterProof.NewChallenge();
            await stream.SendAsync(Message.Greet(challenge), cancellationToken);
            refusal = Judge(await stream.ReadAsync(cancellationToken), challenge);
        }
        catch (Exception fault)
        {
            refusal = fault;
        }

        if (refusal is not null)
        {
            await Refusal.TellAsync(stream, refusal, cancellationToken);
        }

        return refusal is null;
    }

    private Exception? Judge(Message? answer, byte[] challenge) => answer switch
    {
        null => new EndOfStreamException("It has closed"),
        { Kind: not MessageKind.Prove } => new MessagePackException($"Expected Prove, received {answer.Value.Kind}."),
        { First: not Message.ProtocolVersion } => new KvTransportException(
            KvFault.UnsupportedVersion, $"The sender speaks version {answer.Value.First} of the KV protocol; this engine speaks {Message.ProtocolVersion}."),
        _ when !proof.Accepts(challenge, answer.Value.Bytes.Span) => new KvTransportException(
            KvFault.Forged, "The sender is not of this cluster: it has another cluster secret."),
        _ => null,
    };

    private Newcomer? OldestIfFull()
    {
        lock (_gate)
        {
            return _newcomers.Count >= options.MaxNewcomers ? _newcomers.First!.Value : null;
        }
    }
}

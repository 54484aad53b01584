using System.Net.Sockets;
using System.Threading.Channels;
using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.Memory;
using ScriptedServe.KvTransport.Wire;

namespace ScriptedServe.KvTransport.Sending;

/// <summary>
/// A session over either transport: what is queued is written by one task, in order, so that the computing thread never waits for memory or network. Only page
/// numbers are queued; the KV stays in the local pool until it is written.
/// </summary>
internal sealed class KvSendSession : IKvSendSession
{
    private readonly KvPool _local;
    private readonly KvAddress _address;
    private readonly IPageWriter _writer;
    private readonly FrameStream _stream;
    private readonly KvSenderOptions _options;
    private readonly Func<FrameStream, bool, Task> _over;
    private readonly Channel<Work> _queue = Channel.CreateUnbounded<Work>(new UnboundedChannelOptions { SingleReader = true });
    private readonly CancellationTokenSource _abandon = new();
    private readonly RangeSet[] _queued;
    private readonly Task _pump;
    private Task? _disposal;
    private KvTransportException? _failure;
    private long _bytesSent;

    /// <param name="over">Takes the connection back at the end, and whether it may serve another session.</param>
    public KvSendSession(KvPool local, KvAddress address, IPageWriter writer, FrameStream stream, KvSenderOptions options, Func<FrameStream, bool, Task> over)
    {
        (_local, _address, _writer, _stream, _options, _over) = (local, address, writer, stream, options, over);
        _queued = new RangeSet[local.Layout.Layers];
        for (var layer = 0; layer < _queued.Length; layer++)
        {
            _queued[layer] = new RangeSet();
        }

        _pump = Task.Run(PumpAsync);
    }

    public string Transport => _writer.Transport;

    public string ReservationId => _address.ReservationId;

    public int Begin => _address.Begin;

    public int End => _address.End;

    public long BytesSent => Interlocked.Read(ref _bytesSent);

    public KvTransportException? Failure => Volatile.Read(ref _failure);

    public void Send(int layer, ReadOnlySpan<int> pages, int begin, int end)
    {
        var pageTokens = _local.Layout.PageTokens;
        if (layer < 0 || layer >= _local.Layout.Layers)
        {
            throw new ArgumentOutOfRangeException(nameof(layer), $"Layer {layer} of {_local.Layout.Layers}.");
        }

        CheckRange(begin, end);
        if ((long)pages.Length * pageTokens < end)
        {
            throw new ArgumentException($"{pages.Length} pages of {pageTokens} tokens do not cover tokens [{begin}, {end}).", nameof(pages));
        }

        var covered = pages.Slice(begin / pageTokens, PageSlice.PagesOf(_local.Layout, begin, end));
        foreach (var page in covered)
        {
            if (page < 0 || page >= _local.Pages)
            {
                throw new ArgumentOutOfRangeException(nameof(pages), $"Page {page} of a local pool of {_local.Pages}.");
            }
        }

        if (begin < end)
        {
            lock (_queued)
            {
                _queued[layer].Add(begin, end);
            }

            Enqueue(new Work(layer, covered.ToArray(), begin, end, null));
        }
    }

    public Task CommitAsync(int begin, int end, CancellationToken cancellationToken)
    {
        CheckRange(begin, end);
        lock (_queued)
        {
            if (Array.FindIndex(_queued, ranges => !ranges.Covers(begin, end)) is >= 0 and var layer)
            {
                throw new InvalidOperationException($"Tokens [{begin}, {end}) cannot be committed: layer {layer} of them was not sent in this session.");
            }
        }

        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Enqueue(new Work(0, [], begin, end, done));
        return done.Task.WaitAsync(cancellationToken);
    }

    public ValueTask DisposeAsync()
    {
        lock (_queued)
        {
            _disposal ??= DisposeCoreAsync();
        }

        return new ValueTask(_disposal);
    }

    private void CheckRange(int begin, int end)
    {
        if (begin < Begin || end > End || begin > end)
        {
            throw new ArgumentOutOfRangeException(nameof(begin), $"Tokens [{begin}, {end}); the KV address of {_address.ReservationId} holds [{Begin}, {End}).");
        }
    }

    private void Enqueue(Work work) => ObjectDisposedException.ThrowIf(!_queue.Writer.TryWrite(work), this);

    private async Task PumpAsync()
    {
        var ranges = new List<PageRange>();
        await foreach (var work in _queue.Reader.ReadAllAsync())
        {
            if (work.Committed is null)
            {
                Gather(ranges, work);
            }

            if (_failure is null)
            {
                await AttemptAsync(work, ranges);
            }

            ranges.Clear();
            if (_failure is null)
            {
                work.Committed?.SetResult();
            }
            else
            {
                work.Committed?.SetException(_failure);
            }
        }
    }

    /// <summary>The ranges of a work, and as many of what is queued behind it as the writer takes in one go.</summary>
    private void Gather(List<PageRange> ranges, Work work)
    {
        Add(ranges, work);
        var bytes = PageSlice.BytesOf(_local.Layout, work.Begin, work.End);
        while (bytes < _writer.GatheredBytes && _queue.Reader.TryPeek(out var next) && next.Committed is null && _writer.CanGather(next.Layer) && _queue.Reader.TryRead(out next))
        {
            Add(ranges, next);
            bytes += PageSlice.BytesOf(_local.Layout, next.Begin, next.End);
        }
    }

    private void Add(List<PageRange> ranges, Work work)
    {
        var layout = _local.Layout;
        for (var at = 0; at < work.Pages.Length; at += _writer.ChunkPages)
        {
            var pages = Math.Min(_writer.ChunkPages, work.Pages.Length - at);
            var firstPage = (work.Begin / layout.PageTokens) + at;
            var begin = Math.Max(work.Begin, firstPage * layout.PageTokens);
            var end = (int)Math.Min(work.End, (long)(firstPage + pages) * layout.PageTokens);
            ranges.Add(new PageRange(work.Layer, work.Pages.AsMemory(at, pages), begin, end));
        }
    }

    private async Task AttemptAsync(Work work, List<PageRange> ranges)
    {
        try
        {
            _abandon.Token.ThrowIfCancellationRequested();
            if (work.Committed is null)
            {
                await WriteAsync(ranges.ToArray());
            }
            else
            {
                await _stream.SendAsync(Message.Commit(work.Begin, work.End), _abandon.Token);
                await PeerReply.ExpectAsync(_stream, MessageKind.Committed, _abandon.Token);
            }
        }
        catch (Exception fault)
        {
            Volatile.Write(ref _failure, await ExplainAsync(fault));
        }
    }

    private async Task WriteAsync(ReadOnlyMemory<PageRange> ranges)
    {
        for (int at = 0, count; at < ranges.Length; at += count)
        {
            _abandon.Token.ThrowIfCancellationRequested();
            count = 1;
            while (at + count < ranges.Length && ranges.Span.Slice(at, count).Bytes(_local.Layout) < _writer.GatheredBytes)
            {
                count++;
            }

            var written = await _writer.WriteAsync(ranges.Slice(at, count), _abandon.Token);
            Interlocked.Add(ref _bytesSent, written);
        }
    }

    private async Task<KvTransportException> ExplainAsync(Exception fault)
    {
        switch (fault)
        {
            case KvTransportException known:
                return known;
            case OperationCanceledException:
                return new KvTransportException(KvFault.Disconnected, "The send session was disposed before the transfer was over.", fault);
            case SocketException or EndOfStreamException:
                // The receiver may have said why before the connection broke.
                using (var limit = new CancellationTokenSource(_options.ConnectTimeout, _options.TimeProvider))
                {
                    try
                    {
                        var refusal = await PeerReply.ReadRefusalAsync(_stream, limit.Token);
                        return refusal.Fault == KvFault.Disconnected ? Lost(fault) : refusal;
                    }
                    catch (Exception again) when (again is SocketException or EndOfStreamException or OperationCanceledException)
                    {
                        return Lost(fault);
                    }
                }

            default:
                return new KvTransportException(KvFault.Internal, $"The transfer to engine {_address.EngineId} failed: {fault.Message}", fault);
        }
    }

    private KvTransportException Lost(Exception fault) =>
        new(KvFault.Disconnected, $"The connection to engine {_address.EngineId} was lost before it acknowledged reservation {_address.ReservationId}: {fault.Message}", fault);

    private async Task DisposeCoreAsync()
    {
        _queue.Writer.TryComplete();
        await _abandon.CancelAsync();
        // Also waits for a copy under way: after this neither pool is touched any more.
        await _pump;
        _writer.Dispose();
        await _over(_stream, _failure is null && await CloseAsync());
        _abandon.Dispose();
    }

    private async Task<bool> CloseAsync()
    {
        using var limit = new CancellationTokenSource(_options.ConnectTimeout, _options.TimeProvider);
        try
        {
            await _stream.SendAsync(Message.Of(MessageKind.Close), limit.Token);
            await PeerReply.ExpectAsync(_stream, MessageKind.Closed, limit.Token);
            return true;
        }
        catch (Exception fault) when (fault is SocketException or EndOfStreamException or KvTransportException or OperationCanceledException)
        {
            return false;
        }
    }

    /// <param name="Pages">Those that [begin, end) touches.</param>
    /// <param name="Committed">Set for a commit, which has no layer and pages.</param>
    private readonly record struct Work(int Layer, int[] Pages, int Begin, int End, TaskCompletionSource? Committed);
}

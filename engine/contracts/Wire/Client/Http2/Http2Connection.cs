using System.Net.Sockets;
using System.Text;

namespace ScriptedServe.Contracts.Wire.Client.Http2;

/// <summary>
/// A client's connection of HTTP/2 without TLS (RFC 9113). Streams are opened on any thread; one reader takes what comes, and flow control holds back the peer of a stream
/// whose reader pauses. Thread-safe.
/// </summary>
/// <remarks>
/// Ours and not SocketsHttpHandler's, because that one copies and hops to another thread for each token of each stream, and allocates some 20 KB a call: together a good
/// part of what a streamed token costs the host.
/// </remarks>
internal sealed class Http2Connection : IFrameHandler, IDisposable
{
    private const int ReadBytes = 64 << 10;

    /// <summary>Answers that may wait for a peer which asks and does not read.</summary>
    private const int MaxWaitingAnswers = 4 << 20;

    private readonly Socket _socket;
    private readonly Lock _gate = new();
    private readonly FrameWriter _output = new();
    private readonly OpenStreams _streams;
    private readonly TurnList _turns = new();
    private readonly TaskCompletionSource _settled = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly SilenceWatch _silence;
    private bool _isSending;
    private bool _hasEnded;

    /// <param name="socket">Connected; owned from here.</param>
    public Http2Connection(Socket socket, EngineClientOptions options)
    {
        _socket = socket;
        _streams = new OpenStreams(_output);
        _silence = new SilenceWatch(options, HasStreams, Ping, End);
        _output.Raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8);
        _output.Settings((SettingId.EnablePush, 0u), (SettingId.InitialWindowSize, (uint)OpenStreams.StreamWindow), (SettingId.MaxHeaderListSize, (uint)HeaderDecoder.MaxBlockBytes));
        _output.WindowUpdate(0, OpenStreams.ConnectionWindow - OpenStreams.StreamWindow);
    }

    /// <summary>Completes when the peer has said what it takes, and fails if the connection ends before.</summary>
    public Task Settled => _settled.Task;

    public bool HasEnded
    {
        get
        {
            lock (_gate)
            {
                return _hasEnded;
            }
        }
    }

    /// <summary>Introduces itself and reads from here on. Once.</summary>
    public void Start()
    {
        Send();
        _ = ReadAsync();
    }

    /// <summary>Opens a stream with a request of headers and a body.</summary>
    /// <param name="more">Continues <paramref name="headers"/>.</param>
    /// <param name="body">Not empty; kept until it is sent.</param>
    /// <returns>False if the connection takes no more now.</returns>
    public bool TryOpen(Http2Stream stream, ReadOnlySpan<byte> headers, ReadOnlySpan<byte> more, ReadOnlyMemory<byte> body)
    {
        lock (_gate)
        {
            if (_hasEnded)
            {
                return false;
            }

            stream.Connection = this;
            if (!_streams.TryAdd(stream, headers, more, body))
            {
                return false;
            }
        }

        Send();
        return true;
    }

    /// <summary>Gives a stream up. Nothing more is noted on it, what is being noted just now aside.</summary>
    public void Reset(Http2Stream stream)
    {
        lock (_gate)
        {
            if (!_streams.Remove(stream))
            {
                return;
            }

            _output.ResetStream(stream.Id, Http2Error.Cancel);
        }

        Send();
    }

    /// <summary>Lets the peer send so many bytes more on a stream.</summary>
    public void Credit(Http2Stream stream, int bytes)
    {
        lock (_gate)
        {
            _streams.Credit(stream, bytes);
        }

        Send();
    }

    /// <summary>Ends the connection and what runs on it.</summary>
    public void Dispose() => End(new ObjectDisposedException(nameof(Http2Connection), "the client has been disposed"));

    private async Task ReadAsync()
    {
        try
        {
            var frames = new FrameReader(this);
            var buffer = GC.AllocateUninitializedArray<byte>(ReadBytes);
            var end = 0;
            while (!IsDone())
            {
                var read = await _socket.ReceiveAsync(buffer.AsMemory(end));
                if (read == 0)
                {
                    break;
                }

                end += read;
                _silence.Heard();
                var start = frames.Take(buffer.AsSpan(0, end));
                buffer.AsSpan(start, end - start).CopyTo(buffer);
                end -= start;
                Send();
                _turns.Run();
            }

            End(new IOException("it closed the connection"));
        }
        catch (Exception e)
        {
            if (e is Http2Exception broken)
            {
                lock (_gate)
                {
                    _output.GoAway(broken.Error);
                }

                Send();
            }

            End(e);

            // What came before the peer broke the protocol.
            _turns.Run();
        }
    }

    void IFrameHandler.Data(FrameHeader frame, ReadOnlySpan<byte> data)
    {
        Http2Stream? stream;
        lock (_gate)
        {
            if (!_streams.TryReceive(frame.StreamId, frame.Length, out stream))
            {
                // Given up meanwhile.
                return;
            }

            if (frame.IsLast)
            {
                _streams.Finish(stream);
            }
            else if (data.Length < frame.Length)
            {
                // Padding is nobody's to read.
                _streams.Credit(stream, frame.Length - data.Length);
            }
        }

        stream.OnData(data, frame.IsLast);
        _turns.Add(stream);
    }

    void IFrameHandler.Headers(int id, ResponseHeaders headers, bool isLast)
    {
        Http2Stream? stream;
        bool areTrailers;
        lock (_gate)
        {
            if (headers.HttpStatus is >= 100 and < 200 || !_streams.TryFind(id, out stream))
            {
                return;
            }

            areTrailers = stream.HasHeaders;
            if (areTrailers && !isLast)
            {
                throw FrameReader.Broken("headers in the middle of a body");
            }

            stream.HasHeaders = true;
            if (isLast)
            {
                _streams.Finish(stream);
            }
        }

        if (areTrailers)
        {
            stream.OnTrailers(headers);
        }
        else
        {
            stream.OnHeaders(headers, isLast);
        }

        _turns.Add(stream);
    }

    void IFrameHandler.ResetStream(int id, Http2Error error)
    {
        Http2Stream? stream;
        lock (_gate)
        {
            if (!_streams.TryFind(id, out stream))
            {
                return;
            }

            _streams.Remove(stream);
        }

        stream.OnReset(error);
        _turns.Add(stream);
    }

    void IFrameHandler.Ping(ReadOnlySpan<byte> payload) => Answer(static (output, payload) => output.Ping(payload, isAnswer: true), payload);

    void IFrameHandler.Settings(ReadOnlySpan<byte> payload)
    {
        lock (_gate)
        {
            _streams.Apply(payload);
        }

        Answer(static (output, _) => output.SettingsAnswer(), []);
        _settled.TrySetResult();
    }

    void IFrameHandler.GoAway(int last, Http2Error error, ReadOnlySpan<byte> words)
    {
        var cause = new IOException($"it is going away (HTTP/2 error {(uint)error}){(words.IsEmpty ? "" : ": " + Encoding.Latin1.GetString(words[..Math.Min(words.Length, 256)]))}");
        List<Http2Stream> unprocessed;
        lock (_gate)
        {
            unprocessed = _streams.GoAway(last);
        }

        foreach (var stream in unprocessed)
        {
            stream.OnLost(cause, isUnprocessed: true);
            _turns.Add(stream);
        }
    }

    void IFrameHandler.WindowUpdate(int id, int bytes)
    {
        lock (_gate)
        {
            _streams.OpenWindow(id, bytes);
        }
    }

    private void Answer(Action<FrameWriter, ReadOnlySpan<byte>> answer, ReadOnlySpan<byte> payload)
    {
        lock (_gate)
        {
            if (_output.Length > MaxWaitingAnswers)
            {
                throw new Http2Exception(Http2Error.EnhanceYourCalm, "it asks and does not read the answers");
            }

            answer(_output, payload);
        }
    }

    /// <summary>Sends what has been written, unless another thread is at it.</summary>
    private void Send()
    {
        lock (_gate)
        {
            if (_isSending || _output.Length == 0)
            {
                return;
            }

            _isSending = true;
        }

        _ = SendAsync();
    }

    /// <summary>On this thread, as far as the socket takes it at once.</summary>
    private async Task SendAsync()
    {
        try
        {
            while (true)
            {
                ReadOnlyMemory<byte> bytes;
                lock (_gate)
                {
                    if (_output.Length == 0)
                    {
                        _isSending = false;
                        return;
                    }

                    bytes = _output.Take();
                }

                while (!bytes.IsEmpty)
                {
                    bytes = bytes[await _socket.SendAsync(bytes, SocketFlags.None)..];
                }
            }
        }
        catch (Exception e)
        {
            End(e);
        }
    }

    private bool HasStreams()
    {
        lock (_gate)
        {
            return _streams.Count > 0;
        }
    }

    /// <summary>The last stream of a peer that goes away has ended.</summary>
    private bool IsDone()
    {
        lock (_gate)
        {
            return _streams is { AreLast: true, Count: 0 };
        }
    }

    private void Ping()
    {
        lock (_gate)
        {
            _output.Ping("scripted"u8, isAnswer: false);
        }

        Send();
    }

    private void End(Exception cause)
    {
        List<Http2Stream> open;
        lock (_gate)
        {
            if (_hasEnded)
            {
                return;
            }

            _hasEnded = true;
            open = _streams.Clear();
        }

        _silence.Dispose();
        _socket.Dispose();
        _settled.TrySetException(cause);
        _ = _settled.Task.Exception;
        foreach (var stream in open)
        {
            stream.OnLost(cause, isUnprocessed: false);
            ThreadPool.UnsafeQueueUserWorkItem(stream, preferLocal: false);
        }
    }
}

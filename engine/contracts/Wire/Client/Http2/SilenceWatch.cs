namespace ScriptedServe.Contracts.Wire.Client.Http2;

/// <summary>Pings a peer that has been silent while streams are open, and ends its connection if it stays so. Thread-safe.</summary>
internal sealed class SilenceWatch : IDisposable
{
    private readonly EngineClientOptions _options;
    private readonly Func<bool> _isExpecting;
    private readonly Action _ping;
    private readonly Action<Exception> _end;
    private readonly ITimer _timer;
    private long _heard;
    private long? _pinged;

    /// <param name="isExpecting">Whether the peer has something to answer.</param>
    public SilenceWatch(EngineClientOptions options, Func<bool> isExpecting, Action ping, Action<Exception> end)
    {
        (_options, _isExpecting, _ping, _end) = (options, isExpecting, ping, end);
        _heard = options.Clock.GetTimestamp();
        var period = TimeSpan.FromTicks(Math.Max(Math.Min(options.PingDelay.Ticks, options.PingTimeout.Ticks) / 4, TimeSpan.TicksPerMillisecond));
        _timer = options.Clock.CreateTimer(static watch => ((SilenceWatch)watch!).Look(), this, period, period);
    }

    /// <summary>Something came.</summary>
    public void Heard() => Volatile.Write(ref _heard, _options.Clock.GetTimestamp());

    public void Dispose() => _timer.Dispose();

    private void Look()
    {
        var now = _options.Clock.GetTimestamp();
        var heard = Volatile.Read(ref _heard);
        if (!_isExpecting() || _options.Clock.GetElapsedTime(heard, now) < _options.PingDelay)
        {
            _pinged = null;
        }
        else if (_pinged is not { } pinged)
        {
            _pinged = now;
            _ping();
        }
        else if (_options.Clock.GetElapsedTime(pinged, now) >= _options.PingTimeout)
        {
            _end(new IOException($"it did not answer a ping within {_options.PingTimeout.TotalSeconds:0.#} s"));
        }
    }
}

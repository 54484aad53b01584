namespace ScriptedServe.Scripting.Runtime;

/// <summary>Where the host writes down what one call into a script does. Thread-safe. It refers to nothing of the script.</summary>
public abstract class ScriptRecord
{
    private long _threadTicks;
    private long _allocatedBytes;

    /// <summary>Time the script had a thread, the host's work in its calls left out.</summary>
    public TimeSpan ThreadTime => TimeSpan.FromTicks(Interlocked.Read(ref _threadTicks));

    /// <summary>Bytes allocated meanwhile, on the same threads.</summary>
    public long AllocatedBytes => Interlocked.Read(ref _allocatedBytes);

    /// <summary>The script wrote a line to its log.</summary>
    /// <param name="isWarning">By <c>Log.Warn</c>.</param>
    /// <param name="line">The text, of any length.</param>
    public abstract void Wrote(bool isWarning, string line);

    internal void Ran(TimeSpan time, long bytes)
    {
        Interlocked.Add(ref _threadTicks, time.Ticks);
        Interlocked.Add(ref _allocatedBytes, bytes);
    }
}

using System.Runtime.CompilerServices;

namespace ScriptedServe.Host;

/// <summary>
/// Goes on on a thread of the pool: <c>await PoolThread.Take()</c>. What a socket brings is dealt with on the thread that waited for it (see <see cref="RuntimeTuning"/>), which is one of few that all
/// connections share: whatever could compute for long, or waits, leaves it first. On a thread of the pool this costs nothing.
/// </summary>
internal readonly struct PoolThread : ICriticalNotifyCompletion
{
    /// <summary>True where <see cref="Take"/> would do nothing.</summary>
    public static bool IsTaken => Thread.CurrentThread.IsThreadPoolThread;

    public static PoolThread Take() => default;

    public PoolThread GetAwaiter() => this;

    public bool IsCompleted => IsTaken;

    public void GetResult()
    {
    }

    public void OnCompleted(Action continuation) => ThreadPool.QueueUserWorkItem(static action => action(), continuation, preferLocal: false);

    public void UnsafeOnCompleted(Action continuation) => ThreadPool.UnsafeQueueUserWorkItem(static action => action(), continuation, preferLocal: false);
}

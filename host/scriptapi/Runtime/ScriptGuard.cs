using System.Globalization;
using System.Runtime.CompilerServices;

namespace ScriptedServe.Scripting.Runtime;

/// <summary>The checks that the compiler puts into every loop, jump and function of a script. Scripts do not call it.</summary>
/// <remarks>
/// The state is per thread: it counts what runs between two points at which the script gives its thread back.
/// The clock and the allocation are looked at by each of the first checks, in which what doubles each turn becomes too large, and then at
/// every 2nd, 4th, 8th ... while checks come quickly, so a tight loop pays a decrement each turn.
/// </remarks>
public static class ScriptGuard
{
    private const int LongestStride = 4096;
    private const int MaxStackBytes = 64 * 1024;
    private const int FirstLooks = 64;
    private const int LargeCount = 16 * 1024;

    /// <summary>Yielded in the place of a stream's chunks.</summary>
    internal static readonly Chunk HandedOn = new() { Tokens = default };

    [ThreadStatic]
    private static Segment _segment;

    /// <summary>In a loop's body or before a jump.</summary>
    /// <param name="file">The script file.</param>
    /// <param name="line">The line, from 1.</param>
    /// <exception cref="ScriptLimitException">The budget is used up.</exception>
    public static void Check(string file, int line)
    {
        ref var segment = ref _segment;
        if (--segment.Countdown <= 0)
        {
            Observe(ref segment, file, line);
        }
    }

    /// <summary>At the start of a function's body.</summary>
    /// <param name="file">The script file.</param>
    /// <param name="line">The line, from 1.</param>
    /// <exception cref="ScriptLimitException">The budget or the stack is used up.</exception>
    public static unsafe void Enter(string file, int line)
    {
        // The stack grows down. Its use is bounded well below what there is: unwinding a deep chain of async calls takes time that grows
        // with the square of its depth, and each finally block that fails on the way up needs stack of its own.
        byte local = 0;
        var here = (nuint)(&local);
        ref var segment = ref _segment;
        if (here > segment.StackBase)
        {
            segment.StackBase = here;
        }

        if (segment.StackBase - here > MaxStackBytes || !RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            throw Stop(ref segment, file, line, $"calls are nested deeper than {MaxStackBytes >> 10} KiB of stack; look for a recursion without an end");
        }

        Check(file, line);
    }

    /// <summary>As <see cref="Enter"/>, where only an expression can stand: field initialisers and the arguments of <c>this(...)</c>.</summary>
    /// <param name="file">The script file.</param>
    /// <param name="line">The line, from 1.</param>
    /// <returns>True.</returns>
    /// <exception cref="ScriptLimitException">The budget or the stack is used up.</exception>
    public static bool Entered(string file, int line)
    {
        Enter(file, line);
        return true;
    }

    /// <summary>The condition of every catch and finally block: a script that is being stopped catches nothing and calls nothing more; the host gives back what it held.</summary>
    /// <returns>False once a limit was passed.</returns>
    public static bool Catches() => _segment.Stopped is null && _segment.Scope is not { Stopped: not null };

    /// <summary>As <see cref="Check"/>, around a value: in the clauses of a query, which run once an element.</summary>
    /// <param name="file">The script file.</param>
    /// <param name="line">The line, from 1.</param>
    /// <param name="value">Given back.</param>
    /// <typeparam name="T">The value's type.</typeparam>
    /// <exception cref="ScriptLimitException">The budget is used up.</exception>
    public static T Pass<T>(string file, int line, T value)
    {
        Check(file, line);
        return value;
    }

    /// <summary>At the start of an async function's body, in place of <see cref="Enter"/>; <see cref="LeaveAsync"/> is called when it ends.</summary>
    /// <param name="file">The script file.</param>
    /// <param name="line">The line, from 1.</param>
    /// <exception cref="ScriptLimitException">The budget or the stack is used up, or too many async calls are under way.</exception>
    public static void EnterAsync(string file, int line)
    {
        Enter(file, line);
        ref var segment = ref _segment;
        if (segment.Scope is { } scope && !scope.TryBeginAsync())
        {
            throw Stop(ref segment, file, line, string.Create(
                CultureInfo.InvariantCulture,
                $"{scope.Router} has more than {scope.Budget.AsyncCalls} async calls under way at once (setting script-async-calls); look for calls that are not awaited, or a recursion without an end"));
        }
    }

    /// <summary>At the end of an async function that began with <see cref="EnterAsync"/>.</summary>
    public static void LeaveAsync() => _segment.Scope?.EndAsync();

    /// <summary>Before something is allocated whose size the script tells.</summary>
    /// <param name="file">The script file.</param>
    /// <param name="line">The line, from 1.</param>
    /// <param name="bytes">Of each element, about.</param>
    /// <param name="count">Elements; given back.</param>
    /// <exception cref="ScriptLimitException">It is more than the budget of allocation.</exception>
    public static int Size(string file, int line, int bytes, int count) => (int)Size(file, line, bytes, (long)count);

    /// <inheritdoc cref="Size(string, int, int, int)"/>
    public static long Size(string file, int line, int bytes, long count)
    {
        ref var segment = ref _segment;
        if (count >= LargeCount && segment.Scope is { } scope)
        {
            if (count > scope.Budget.AllocatedBytes / bytes)
            {
                throw Stop(ref segment, file, line, string.Create(
                    CultureInfo.InvariantCulture,
                    $"{count} elements at once are more than the {scope.Budget.AllocatedBytes >> 20} MiB that {scope.Router} may allocate (setting script-budget-mib)"));
            }

            // What is allocated shows at the next check, however far off the next look at the clock would be.
            segment.Countdown = Math.Min(segment.Countdown, 1);
        }

        return count;
    }

    /// <summary>As <c>lock</c> does, for no longer than the script may have the thread: it may wait for one that waits for it.</summary>
    /// <param name="file">The script file.</param>
    /// <param name="line">The line, from 1.</param>
    /// <param name="monitor">What is locked.</param>
    /// <param name="taken">True once it is.</param>
    /// <exception cref="ScriptLimitException">It could not be had.</exception>
    public static void Lock(string file, int line, object monitor, ref bool taken)
    {
        if (_segment.Scope is not { } scope)
        {
            Monitor.Enter(monitor, ref taken);
            return;
        }

        Monitor.TryEnter(monitor, scope.Budget.Run, ref taken);
        if (!taken)
        {
            throw NotLocked(file, line, scope);
        }
    }

    /// <inheritdoc cref="Lock(string, int, object, ref bool)"/>
    public static void Lock(string file, int line, Lock monitor, ref bool taken)
    {
        if (_segment.Scope is not { } scope)
        {
            monitor.Enter();
            taken = true;
            return;
        }

        taken = monitor.TryEnter(scope.Budget.Run);
        if (!taken)
        {
            throw NotLocked(file, line, scope);
        }
    }

    /// <summary>Ends what <see cref="Lock(string, int, object, ref bool)"/> began.</summary>
    /// <param name="monitor">What was locked.</param>
    public static void Unlock(object monitor) => Monitor.Exit(monitor);

    /// <inheritdoc cref="Unlock(object)"/>
    public static void Unlock(Lock monitor) => monitor.Exit();

    /// <summary>
    /// In HandleRequest, in place of a loop that yields the chunks of a stream as they are: the host reads the stream to its end and comes back,
    /// and no code of the script runs for a chunk.
    /// </summary>
    /// <param name="chunks">The stream.</param>
    /// <returns>What to yield.</returns>
    /// <exception cref="ArgumentNullException">There is no stream.</exception>
    public static Chunk HandOn(IAsyncEnumerable<Chunk> chunks)
    {
        ArgumentNullException.ThrowIfNull(chunks);
        (ScriptScope.Current ?? throw new InvalidOperationException("HandleRequest runs outside of a request")).HandOn(chunks);
        return HandedOn;
    }

    /// <summary>A limit that the host found passed: the script is stopped as by one of its own checks.</summary>
    /// <param name="limit">What was exceeded, its value and the setting that changes it.</param>
    /// <returns>To be thrown. Where in the script it happened, its stack trace tells.</returns>
    public static ScriptLimitException Passed(string limit)
    {
        ref var segment = ref _segment;
        if (segment.Scope is { } scope)
        {
            scope.Stop(limit);
            segment.Stopped = limit;
            segment.Countdown = 0;
        }

        return new ScriptLimitException(limit);
    }

    internal static void Begin(ScriptScope? scope)
    {
        ref var segment = ref _segment;
        Settle(ref segment);
        if (segment.Used != TimeSpan.Zero)
        {
            segment.Scope?.Use(-segment.Used);
        }

        segment = new Segment { Scope = scope, Countdown = 1, Stride = 1 };
        Meter(ref segment);
    }

    internal static void Pause(ScriptScope scope)
    {
        ref var segment = ref _segment;
        if (ReferenceEquals(segment.Scope, scope))
        {
            Settle(ref segment);
        }
    }

    internal static void Resume(ScriptScope scope)
    {
        ref var segment = ref _segment;
        if (ReferenceEquals(segment.Scope, scope))
        {
            Meter(ref segment);
        }
    }

    private static void Meter(ref Segment segment)
    {
        if (segment.Scope is { Record: not null } scope)
        {
            segment.IsMetered = true;
            segment.MeterBegan = scope.Budget.Clock.GetTimestamp();
            segment.MeterAllocated = GC.GetAllocatedBytesForCurrentThread();
        }
    }

    private static void Settle(ref Segment segment)
    {
        if (segment.IsMetered)
        {
            segment.IsMetered = false;
            var scope = segment.Scope!;
            scope.Record!.Ran(scope.Budget.Clock.GetElapsedTime(segment.MeterBegan), GC.GetAllocatedBytesForCurrentThread() - segment.MeterAllocated);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Observe(ref Segment segment, string file, int line)
    {
        if (segment.Scope is not { } scope)
        {
            segment.Countdown = int.MaxValue;
            return;
        }

        if ((segment.Stopped ?? scope.Stopped) is { } before)
        {
            segment.Stopped = before;
            segment.Countdown = 0;
            throw new ScriptLimitException(file, line, before);
        }

        var budget = scope.Budget;
        var now = budget.Clock.GetTimestamp();
        var allocated = GC.GetAllocatedBytesForCurrentThread();
        if (segment.Observed == 0)
        {
            segment.Observed = now;
            segment.AllocatedAtStart = allocated;
        }

        var gap = budget.Clock.GetElapsedTime(segment.Observed, now);
        var stall = budget.Run / 8;
        var used = gap < stall ? gap : stall;
        segment.Used += used;
        segment.Observed = now;
        segment.Stride = gap > TimeSpan.FromMilliseconds(1) || segment.Looks++ < FirstLooks ? 1 : Math.Min(segment.Stride * 2, LongestStride);

        if (scope.Use(used) > budget.Run)
        {
            throw Stop(ref segment, file, line, string.Create(
                CultureInfo.InvariantCulture,
                $"{scope.Router} ran for more than {budget.Run.TotalMilliseconds:0} ms without awaiting anything (setting script-budget-ms)"));
        }

        if (scope.Record is { } record && record.ThreadTime + segment.Used > budget.Total)
        {
            throw Stop(ref segment, file, line, string.Create(
                CultureInfo.InvariantCulture,
                $"{scope.Router} ran for more than {budget.Total.TotalMilliseconds:0} ms in all for one request (setting script-request-ms)"));
        }

        if (allocated - segment.AllocatedAtStart > budget.AllocatedBytes)
        {
            throw Stop(ref segment, file, line, string.Create(
                CultureInfo.InvariantCulture,
                $"{scope.Router} allocated more than {budget.AllocatedBytes >> 20} MiB without awaiting anything (setting script-budget-mib)"));
        }

        if (scope.MustStop(now))
        {
            throw new OperationCanceledException($"{file}({line}): stopped: the call was cancelled and did not end");
        }

        segment.Countdown = segment.Stride;
    }

    private static ScriptLimitException NotLocked(string file, int line, ScriptScope scope) => Stop(ref _segment, file, line, string.Create(
        CultureInfo.InvariantCulture,
        $"{scope.Router} waited more than {scope.Budget.Run.TotalMilliseconds:0} ms for a lock (setting script-budget-ms); look for two locks taken in different orders"));

    // From here on every check throws: on this thread, and on all that take up a part of the same call.
    private static ScriptLimitException Stop(ref Segment segment, string file, int line, string limit)
    {
        segment.Scope?.Stop(limit);
        segment.Stopped = limit;
        segment.Countdown = 0;
        return new ScriptLimitException(file, line, limit);
    }

    private struct Segment
    {
        public ScriptScope? Scope;
        public string? Stopped;
        public int Countdown;
        public int Stride;
        public int Looks;
        public long Observed;
        public TimeSpan Used;
        public nuint StackBase;
        public long AllocatedAtStart;
        public bool IsMetered;
        public long MeterBegan;
        public long MeterAllocated;
    }
}

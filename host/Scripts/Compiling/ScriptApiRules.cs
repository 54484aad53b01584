namespace ScriptedServe.Host.Scripts;

/// <summary>Why an API is refused to scripts.</summary>
/// <param name="Id">Of the diagnostic.</param>
/// <param name="Why">What to do instead, or what would go wrong.</param>
/// <param name="Severity">A warning lets the script pass.</param>
public sealed record ApiRule(string Id, string Why, DiagnosticSeverity Severity = DiagnosticSeverity.Error);

/// <summary>
/// APIs that scripts should not use: <c>N:</c> a namespace and those below it, <c>T:</c> a type, <c>M:</c> a member. The narrowest entry
/// decides; null allows. A guard-rail against accidents, not a sandbox: a script is trusted code.
/// </summary>
public sealed class ScriptApiRules
{
    private static readonly ApiRule Files = new("SS0101", "scripts do not touch files: keep values in State, set them by Options, write lines with Log");
    private static readonly ApiRule Processes = new("SS0102", "scripts do not start or inspect processes");
    private static readonly ApiRule Network = new("SS0103", "scripts do not open connections: the calls on engines are their only I/O");
    private static readonly ApiRule Reflection = new("SS0104", "code made or reached by reflection escapes the checks and keeps old versions loaded");
    private static readonly ApiRule Process = new("SS0105", "this acts on the whole host process; write lines with Log");
    private static readonly ApiRule Threads = new("SS0106", "threads and timers outlive the request and keep old versions loaded: use async functions, PlanStrategy and Task.Delay with Time");
    private static readonly ApiRule Blocking = new("SS0107", "it blocks a thread that serves other requests and cannot be stopped: use await");
    private static readonly ApiRule Locks = new("SS0107", "write `lock (x) { ... }`: the host then bounds the wait");
    private static readonly ApiRule Native = new("SS0108", "unsafe and native code can bring the host down");
    private static readonly ApiRule Clock = new("SS0109", "use the clock `Time`: Time.GetUtcNow(), Task.Delay(delay, Time), so that the script also runs on simulated time", DiagnosticSeverity.Warning);
    private static readonly ApiRule Internal = new("SS0110", "this is the host's own machinery");
    private static readonly ApiRule Endless = new("SS0107", "it does not come to an end of itself, and cannot be stopped while it runs");
    private static readonly ApiRule Denied = new("SS0199", "this host refuses it (setting script-deny)");
    private static readonly ApiRule Callbacks = new("SS0113", "the callback runs outside the request, where its exception would hit the host: await instead");

    private readonly Dictionary<string, ApiRule?> _rules;

    public ScriptApiRules(IReadOnlyDictionary<string, ApiRule?> rules) => _rules = new(rules, StringComparer.Ordinal);

    /// <summary>By entry, as <c>N:Name.Space</c>; null where something is allowed inside of what is refused.</summary>
    internal IReadOnlyDictionary<string, ApiRule?> Entries => _rules;

    /// <summary>The rules in force unless others are given.</summary>
    public static ScriptApiRules Default { get; } = new(new Dictionary<string, ApiRule?>
    {
        ["N:System.IO"] = Files,
        ["T:System.IO.IOException"] = null,
        ["T:System.IO.InvalidDataException"] = null,
        ["T:System.IO.MemoryStream"] = null,
        ["T:System.IO.Stream"] = null,
        ["T:System.IO.StringReader"] = null,
        ["T:System.IO.StringWriter"] = null,
        ["T:System.IO.TextReader"] = null,
        ["T:System.IO.TextWriter"] = null,
        ["T:System.Diagnostics.Process"] = Processes,
        ["T:System.Diagnostics.ProcessStartInfo"] = Processes,
        ["T:System.Diagnostics.ProcessModule"] = Processes,
        ["T:System.Diagnostics.ProcessThread"] = Processes,
        ["T:System.Diagnostics.Debugger"] = Process,
        ["T:System.Diagnostics.Debug"] = Process,
        ["T:System.Diagnostics.Trace"] = Process,
        ["T:System.Diagnostics.Stopwatch"] = Clock,
        ["N:System.Net"] = Network,
        ["T:System.Net.HttpStatusCode"] = null,
        ["T:System.Net.WebUtility"] = null,
        ["N:System.Reflection"] = Reflection,
        ["M:System.Reflection.MemberInfo.Name"] = null,
        ["N:System.Runtime.Loader"] = Reflection,
        ["N:System.Linq.Expressions"] = Reflection,
        ["T:System.Activator"] = Reflection,
        ["T:System.AppDomain"] = Reflection,
        ["M:System.Type.GetType"] = Reflection,
        ["M:System.Type.GetTypeFromHandle"] = Reflection,
        ["M:System.Type.InvokeMember"] = Reflection,
        ["M:System.Delegate.CreateDelegate"] = Reflection,
        ["M:System.Delegate.DynamicInvoke"] = Reflection,
        ["T:System.Environment"] = Process,
        ["M:System.Environment.NewLine"] = null,
        ["M:System.Environment.ProcessorCount"] = null,
        ["M:System.Environment.MachineName"] = null,
        ["M:System.Environment.TickCount"] = Clock,
        ["M:System.Environment.TickCount64"] = Clock,
        ["T:System.Console"] = Process,
        ["T:System.GC"] = Process,
        ["T:System.AppContext"] = Process,
        ["T:System.Runtime.GCSettings"] = Process,
        ["T:System.Runtime.ControlledExecution"] = Process,
        ["N:System.Diagnostics.Tracing"] = Process,
        ["M:System.Globalization.CultureInfo.DefaultThreadCurrentCulture"] = Process,
        ["M:System.Globalization.CultureInfo.DefaultThreadCurrentUICulture"] = Process,
        ["M:System.Text.Encoding.RegisterProvider"] = Process,
        ["M:System.String.Intern"] = Process,
        ["N:Microsoft.Win32"] = Files,
        ["T:System.Threading.Thread"] = Threads,
        ["M:System.Threading.Thread.Sleep"] = Blocking,
        ["M:System.Threading.Thread.Join"] = Blocking,
        ["T:System.Threading.ThreadPool"] = Threads,
        ["T:System.Threading.Timer"] = Threads,
        ["T:System.Threading.PeriodicTimer"] = Threads,
        ["N:System.Timers"] = Threads,
        ["M:System.TimeProvider.CreateTimer"] = Threads,
        ["T:System.Threading.ExecutionContext"] = Threads,
        ["T:System.Threading.SynchronizationContext"] = Threads,
        ["T:System.Threading.Tasks.TaskScheduler"] = Threads,
        ["T:System.Threading.Tasks.TaskFactory"] = Threads,
        ["M:System.Threading.Tasks.Task.Start"] = Threads,
        ["T:System.Threading.Tasks.Parallel"] = Threads,
        ["M:System.Threading.Tasks.Task.Run"] = Threads,
        ["M:System.Threading.Tasks.Task.ContinueWith"] = Callbacks,
        ["T:System.ThreadStaticAttribute"] = Threads,
        ["M:System.Threading.Tasks.Task.Wait"] = Blocking,
        ["M:System.Threading.Tasks.Task.WaitAll"] = Blocking,
        ["M:System.Threading.Tasks.Task.WaitAny"] = Blocking,
        ["M:System.Threading.Tasks.Task.Result"] = Blocking,
        ["M:System.Threading.Tasks.Task.RunSynchronously"] = Blocking,
        ["M:System.Threading.Tasks.ValueTask.Result"] = Blocking,
        ["M:System.Threading.Tasks.TaskAsyncEnumerableExtensions.ToBlockingEnumerable"] = Blocking,
        ["M:System.Runtime.CompilerServices.TaskAwaiter.GetResult"] = Blocking,
        ["M:System.Runtime.CompilerServices.ValueTaskAwaiter.GetResult"] = Blocking,
        ["M:System.Runtime.CompilerServices.ConfiguredTaskAwaiter.GetResult"] = Blocking,
        ["M:System.Runtime.CompilerServices.ConfiguredValueTaskAwaiter.GetResult"] = Blocking,
        ["M:System.Threading.SemaphoreSlim.Wait"] = Blocking,
        ["M:System.Threading.Monitor.Wait"] = Blocking,
        ["M:System.Threading.Monitor.Enter"] = Locks,
        ["M:System.Threading.Monitor.TryEnter"] = Locks,
        ["M:System.Threading.Lock.Enter"] = Locks,
        ["M:System.Threading.Lock.EnterScope"] = Locks,
        ["M:System.Threading.Lock.TryEnter"] = Locks,
        ["M:System.Linq.Enumerable.InfiniteSequence"] = Endless,
        ["M:System.Numerics.BigInteger.Pow"] = Endless,
        ["M:System.Numerics.BigInteger.ModPow"] = Endless,
        ["T:System.Threading.Barrier"] = Blocking,
        ["T:System.Threading.CountdownEvent"] = Blocking,
        ["T:System.Threading.EventWaitHandle"] = Blocking,
        ["T:System.Threading.AutoResetEvent"] = Blocking,
        ["T:System.Threading.ManualResetEvent"] = Blocking,
        ["T:System.Threading.ManualResetEventSlim"] = Blocking,
        ["T:System.Threading.Mutex"] = Blocking,
        ["T:System.Threading.Semaphore"] = Blocking,
        ["T:System.Threading.ReaderWriterLock"] = Blocking,
        ["T:System.Threading.ReaderWriterLockSlim"] = Blocking,
        ["T:System.Threading.SpinLock"] = Blocking,
        ["T:System.Threading.SpinWait"] = Blocking,
        ["T:System.Threading.WaitHandle"] = Blocking,
        ["T:System.Collections.Concurrent.BlockingCollection"] = Blocking,
        ["M:System.Threading.CancellationToken.Register"] = Callbacks,
        ["M:System.Threading.CancellationToken.UnsafeRegister"] = Callbacks,
        ["T:System.Progress"] = Callbacks,
        ["T:System.Threading.AsyncLocal"] = Callbacks,
        ["M:System.Runtime.CompilerServices.TaskAwaiter.OnCompleted"] = Callbacks,
        ["M:System.Runtime.CompilerServices.TaskAwaiter.UnsafeOnCompleted"] = Callbacks,
        ["M:System.Runtime.CompilerServices.ValueTaskAwaiter.OnCompleted"] = Callbacks,
        ["M:System.Runtime.CompilerServices.ValueTaskAwaiter.UnsafeOnCompleted"] = Callbacks,
        ["M:System.Runtime.CompilerServices.ConfiguredTaskAwaiter.OnCompleted"] = Callbacks,
        ["M:System.Runtime.CompilerServices.ConfiguredTaskAwaiter.UnsafeOnCompleted"] = Callbacks,
        ["M:System.Runtime.CompilerServices.ConfiguredValueTaskAwaiter.OnCompleted"] = Callbacks,
        ["M:System.Runtime.CompilerServices.ConfiguredValueTaskAwaiter.UnsafeOnCompleted"] = Callbacks,
        ["M:System.Runtime.CompilerServices.YieldAwaiter.OnCompleted"] = Callbacks,
        ["M:System.Runtime.CompilerServices.YieldAwaiter.UnsafeOnCompleted"] = Callbacks,
        ["M:System.Runtime.CompilerServices.INotifyCompletion.OnCompleted"] = Callbacks,
        ["M:System.Runtime.CompilerServices.ICriticalNotifyCompletion.UnsafeOnCompleted"] = Callbacks,
        ["N:System.Runtime.InteropServices"] = Native,
        ["T:System.Runtime.InteropServices.CollectionsMarshal"] = null,
        ["M:System.Runtime.InteropServices.MemoryMarshal.AsBytes"] = null,
        ["M:System.Runtime.InteropServices.MemoryMarshal.Cast"] = null,
        ["T:System.Runtime.CompilerServices.InlineArrayAttribute"] = Native,
        ["T:System.Runtime.CompilerServices.Unsafe"] = Native,
        ["T:System.Runtime.CompilerServices.RuntimeHelpers"] = Native,
        ["T:System.Runtime.CompilerServices.UnsafeAccessorAttribute"] = Native,
        ["T:System.Runtime.CompilerServices.ModuleInitializerAttribute"] = Process,
        ["M:System.DateTime.Now"] = Clock,
        ["M:System.DateTime.UtcNow"] = Clock,
        ["M:System.DateTime.Today"] = Clock,
        ["M:System.DateTimeOffset.Now"] = Clock,
        ["M:System.DateTimeOffset.UtcNow"] = Clock,
        ["M:System.TimeProvider.System"] = Clock,
        ["N:ScriptedServe.Scripting.Runtime"] = Internal,
        ["T:ScriptedServe.Scripting.Runtime.ScriptLimitException"] = null,
    });

    /// <summary>These rules, with what an operator allows and refuses besides.</summary>
    /// <param name="allowed">Entries, as <c>M:System.GC.Collect</c>; settings script-allow and script-deny.</param>
    /// <exception cref="FormatException">An entry is none.</exception>
    public ScriptApiRules With(IEnumerable<string> allowed, IEnumerable<string> denied)
    {
        var rules = new Dictionary<string, ApiRule?>(_rules, StringComparer.Ordinal);
        foreach (var (entry, rule) in allowed.Select(entry => (entry, (ApiRule?)null)).Concat(denied.Select(entry => (entry, (ApiRule?)Denied))))
        {
            rules[IsEntry(entry) ? entry : throw new FormatException($"'{entry}' is no entry; write N:Name.Space, T:Name.Space.Type or M:Name.Space.Type.Member")] = rule;
        }

        return new ScriptApiRules(rules);
    }

    private static bool IsEntry(string entry) =>
        entry.Length > 2 && entry[0] is 'N' or 'T' or 'M' && entry[1] == ':' && entry[2..].Split('.').All(part => part.Length > 0 && part.All(c => char.IsAsciiLetterOrDigit(c) || c == '_'));

    /// <summary>The rule for a type or a member of it, or null if it may be used.</summary>
    /// <param name="space">Namespace with dots, or empty.</param>
    /// <param name="type">Name without arity; of a nested type, its own name.</param>
    /// <param name="member">Null for the type itself; a constructor counts as the type.</param>
    public ApiRule? Find(string space, string type, string? member)
    {
        var full = space.Length == 0 ? type : $"{space}.{type}";
        if (member is not null && _rules.TryGetValue($"M:{full}.{member}", out var rule))
        {
            return rule;
        }

        if (_rules.TryGetValue($"T:{full}", out rule))
        {
            return rule;
        }

        for (var name = space; name.Length > 0; name = name[..Math.Max(0, name.LastIndexOf('.'))])
        {
            if (_rules.TryGetValue($"N:{name}", out rule))
            {
                return rule;
            }
        }

        return null;
    }
}

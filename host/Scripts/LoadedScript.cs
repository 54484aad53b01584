using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.Loader;
using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Scripts;

/// <summary>How the host calls into scripts.</summary>
/// <param name="Clock">Of limits on waiting: virtual where routers see a virtual clock.</param>
/// <param name="Budget">Of thread time; see <see cref="ScriptBudget"/>.</param>
internal sealed record ScriptCalls(TimeProvider Clock, ScriptBudget Budget);

/// <summary>
/// A compiled script in a load context of its own, its entry points bound to delegates. Dropping every reference to it after
/// <see cref="Unload"/> lets the context go.
/// </summary>
internal sealed class LoadedScript
{
    private readonly AssemblyLoadContext _context;

    private LoadedScript(AssemblyLoadContext context) => _context = context;

    public required Func<Request, IAsyncEnumerable<Chunk>> HandleRequest { get; init; }

    public required Func<CancellationToken, Task>? PlanStrategy { get; init; }

    public required Func<CancellationToken, Task>? OnLoad { get; init; }

    public required Func<CancellationToken, Task>? OnUnload { get; init; }

    /// <summary>See <see cref="ShortTurns"/>.</summary>
    public required bool HasShortTurns { get; init; }

    /// <summary>Dead when the context is really gone.</summary>
    public WeakReference Context => new(_context);

    public void Unload() => _context.Unload();

    /// <summary>Loads an image, runs its top-level statements and OnLoad. On failure nothing of it stays loaded.</summary>
    /// <param name="router">Name and version, for messages.</param>
    /// <param name="limit">On the wall time of both together.</param>
    /// <exception cref="RouterLoadException">They threw or did not end in time.</exception>
    public static async Task<LoadedScript> Load(CompiledScript compiled, RouterGlobals globals, string router, ScriptCalls calls, TimeSpan limit, CancellationToken cancellationToken)
    {
        var context = new AssemblyLoadContext(router, isCollectible: true);
        var stage = "the top-level statements";
        try
        {
            return await Run(
                async stop =>
                {
                    stop.ThrowIfCancellationRequested();
                    var script = await Instantiate(context, compiled, globals);
                    stage = EntryPoints.OnLoad;
                    await (script.OnLoad?.Invoke(stop) ?? Task.CompletedTask);
                    return script;
                },
                router, calls, limit, cancellationToken);
        }
        catch (Exception e)
        {
            context.Unload();
            if (e is OperationCanceledException && cancellationToken.IsCancellationRequested)
            {
                throw;
            }

            var at = ScriptErrors.Locate(e);
            var what = e is TimeoutException ? $"did not end within {limit.TotalMilliseconds:0} ms (setting script-load-ms)" : $"failed: {ScriptErrors.Describe(e)}";
            throw new RouterLoadException(new RouterDiagnostic(
                at?.File ?? compiled.Source.Main.Path, at?.Line ?? 0, at is null ? 0 : 1, ScriptDiagnosticIds.LoadFailed, DiagnosticSeverity.Error, $"{stage} {what}").Quoting(compiled.Source.TextOf));
        }
    }

    /// <summary>Calls into a script on a pool thread, in a scope of its own, and waits for it no longer than a limit.</summary>
    /// <param name="call">On a busy machine it may get its thread only after it was given up on: it looks at its token first.</param>
    /// <exception cref="TimeoutException">It did not end; it has been told to stop, and is left to itself.</exception>
    public static async Task<T> Run<T>(Func<CancellationToken, Task<T>> call, string router, ScriptCalls calls, TimeSpan limit, CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var token = stop.Token;
        var scope = new ScriptScope(calls.Budget, router, requestId: null, token);
        var running = Task.Run(
            () =>
            {
                scope.Enter();
                return call(token);
            },
            CancellationToken.None);
        try
        {
            return await running.WaitAsync(limit, calls.Clock, cancellationToken);
        }
        finally
        {
            if (!running.IsCompleted)
            {
                await stop.CancelAsync();
                _ = running.ContinueWith(static left => left.Exception, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            }
        }
    }

    // Kept out of the async method above, whose state would hold on to what it reflects over.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static async Task<LoadedScript> Instantiate(AssemblyLoadContext context, CompiledScript compiled, RouterGlobals globals)
    {
        using var image = new MemoryStream(compiled.Assembly!);
        using var symbols = new MemoryStream(compiled.Symbols!);
        var type = context.LoadFromStream(image, symbols).GetType(compiled.FactoryType!, throwOnError: true)!;

        // The factory's contract with the compiler: slot 0 holds the globals, slot 1 receives the script's instance.
        var slots = new object?[] { globals, null };
        var factory = type.GetMethod(compiled.FactoryMethod!, BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic)!
            .CreateDelegate<Func<object?[], Task<object>>>();
        await factory(slots);
        var instance = slots[1]!;
        return new LoadedScript(context)
        {
            HandleRequest = Bind<Func<Request, IAsyncEnumerable<Chunk>>>(Method(instance, EntryPoints.HandleRequest)!, instance),
            PlanStrategy = Optional(instance, EntryPoints.PlanStrategy),
            OnLoad = Optional(instance, EntryPoints.OnLoad),
            OnUnload = Optional(instance, EntryPoints.OnUnload),
            HasShortTurns = compiled.HasShortTurns,
        };
    }

    private static MethodInfo? Method(object instance, string name) =>
        instance.GetType().GetMethod(name, BindingFlags.Instance | BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic);

    private static T Bind<T>(MethodInfo method, object instance)
        where T : Delegate => method.IsStatic ? method.CreateDelegate<T>() : method.CreateDelegate<T>(instance);

    private static Func<CancellationToken, Task>? Optional(object instance, string name)
    {
        if (Method(instance, name) is not { } method)
        {
            return null;
        }

        var (isVoid, takesToken) = (method.ReturnType == typeof(void), method.GetParameters().Length == 1);
        switch (isVoid, takesToken)
        {
            case (false, true):
                return Bind<Func<CancellationToken, Task>>(method, instance);
            case (false, false):
                var task = Bind<Func<Task>>(method, instance);
                return _ => task();
            case (true, true):
                var actionWithToken = Bind<Action<CancellationToken>>(method, instance);
                return stop =>
                {
                    actionWithToken(stop);
                    return Task.CompletedTask;
                };
            default:
                var action = Bind<Action>(method, instance);
                return _ =>
                {
                    action();
                    return Task.CompletedTask;
                };
        }
    }
}

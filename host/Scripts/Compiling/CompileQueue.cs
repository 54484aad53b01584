namespace ScriptedServe.Host.Scripts;

/// <summary>Compiles off the request path: one text at a time on the whole host, and only so many wait.</summary>
internal sealed class CompileQueue(IScriptCompiler compiler, ScriptLimits limits)
{
    private int _waiting;

    private SemaphoreSlim Turn { get; } = new(1, 1);

    /// <summary>Takes a place among the compiles under way or waiting; dispose it when the text is dealt with.</summary>
    /// <exception cref="RouterRefusedException">Too many wait.</exception>
    public IDisposable Enter()
    {
        if (Interlocked.Increment(ref _waiting) > limits.CompileQueue)
        {
            Interlocked.Decrement(ref _waiting);
            throw new RouterRefusedException(
                RouterRefusal.Busy, "compile_queue_full", $"{limits.CompileQueue} compiles are waiting already (setting compile-queue); try again in a moment");
        }

        return new Place(this);
    }

    /// <summary>Waits for its turn and compiles.</summary>
    /// <param name="label">Names the image.</param>
    public async Task<CompiledScript> Compile(ScriptSource source, string label, CancellationToken cancellationToken)
    {
        await Turn.WaitAsync(cancellationToken);
        try
        {
            return await compiler.CompileAsync(source, label, cancellationToken);
        }
        finally
        {
            Turn.Release();
        }
    }

    private sealed class Place(CompileQueue queue) : IDisposable
    {
        private CompileQueue? _queue = queue;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _queue, null) is { } left)
            {
                Interlocked.Decrement(ref left._waiting);
            }
        }
    }
}

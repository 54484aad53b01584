namespace ScriptedServe.Host.Scripts;

/// <summary>
/// Compiles what is in force again and again for a while after the start, in the background, so that the first change is as quick as the hundredth: the runtime
/// makes good code only of methods that were called thirty times, and what that code takes of memory is then taken before the first change.
/// </summary>
internal sealed class CompilerWarmUp(IScriptCompiler compiler, CompileQueue queue, TimeProvider time)
{
    /// <summary>Between two compiles: the turn of a change that comes meanwhile, and the processor's for requests.</summary>
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(50);

    private const string SmallestRouter = "IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet.LeastLoaded().StartGenerate(request);";

    /// <param name="sources">What to compile, by turns; empty if nothing is in force.</param>
    /// <param name="compiles">How often in all.</param>
    public async Task Run(IReadOnlyList<ScriptSource> sources, int compiles, CancellationToken cancellationToken)
    {
        if (sources.Count == 0)
        {
            sources = [await compiler.ReadAsync("warm-up", SmallestRouter, cancellationToken)];
        }

        for (var i = 0; i < compiles; i++)
        {
            await queue.Compile(sources[i % sources.Count], "warm-up", cancellationToken);
            await Task.Delay(Rest, time, cancellationToken);
        }
    }
}

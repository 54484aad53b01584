using System.ComponentModel;
using System.Diagnostics;
using System.Text;
using System.Text.Json;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// Compiles in a process of its own, <see cref="CompilerWorker"/>: what a text does to the compiler, be it endless, too deep or too large, ends that process and not the host, and what
/// compiling takes of memory and collecting is not taken from requests. It is started when first used, and again after it ended.
/// </summary>
/// <param name="limits">Of the texts, and on how long one may take.</param>
/// <param name="program">What to start, its own arguments first; null for this host's program.</param>
internal sealed class CompilerProcess(ScriptFolder folder, ScriptLimits limits, ScriptApiRules rules, TimeProvider time, ILogger log, IReadOnlyList<string>? program = null)
    : IScriptCompiler, IAsyncDisposable
{
    // Once more after it ended: the fault may have been another text's, or the system's.
    private const int Attempts = 2;

    private readonly SemaphoreSlim _turn = new(1, 1);
    private Worker? _worker;

    /// <summary>Of the process, or null while there is none.</summary>
    public int? ProcessId => _worker?.Id;

    public async Task<ScriptSource> ReadAsync(string name, string text, CancellationToken cancellationToken)
    {
        var answer = await Ask(new CompilerRequest(name, Text: text)).WaitAsync(cancellationToken);
        return answer.Source ?? ScriptSource.Refused(
            new ScriptFile(name + ".csx", text), ScriptDiagnosticIds.CompilerFailed, answer.Failure ?? "the compiler did not answer");
    }

    public async Task<CompiledScript> CompileAsync(ScriptSource source, string assemblyName, CancellationToken cancellationToken)
    {
        var answer = await Ask(new CompilerRequest(assemblyName, Source: source)).WaitAsync(cancellationToken);
        return answer.Failure is { } failure
            ? CompiledScript.Failed(source, failure)
            : new CompiledScript(source, answer.Assembly, answer.Symbols, answer.FactoryType, answer.FactoryMethod, answer.HasShortTurns, answer.Diagnostics);
    }

    public async ValueTask DisposeAsync()
    {
        await _turn.WaitAsync();
        _worker?.Dispose();
        _worker = null;
    }

    // Goes on when its caller does not wait any more, for at most the limit: the answer must be read before the next.
    private async Task<CompilerAnswer> Ask(CompilerRequest request)
    {
        await _turn.WaitAsync();
        try
        {
            for (var attempt = 1; ; attempt++)
            {
                try
                {
                    _worker ??= Worker.Start(program ?? [DotnetProgram.Find(), typeof(CompilerProcess).Assembly.Location, CompilerWorker.Argument], Setup());
                    return await _worker.Ask(request).WaitAsync(TimeSpan.FromMilliseconds(limits.CompileMs), time);
                }
                catch (TimeoutException)
                {
                    return Failed($"the compiler took longer than {limits.CompileMs} ms (setting compile-ms)");
                }
                catch (Exception e) when (e is IOException or InvalidOperationException or Win32Exception or JsonException)
                {
                    log.LogWarning("The compiler's process ended while it was at {Text}: {Error}", request.Name, e.Message);
                    var failed = Failed($"the compiler's process ended over this text: {e.Message}");
                    if (attempt == Attempts)
                    {
                        return failed;
                    }
                }
            }
        }
        finally
        {
            _turn.Release();
        }
    }

    private CompilerSetup Setup() => new(folder.Root, limits, rules.Entries);

    private CompilerAnswer Failed(string why)
    {
        _worker?.Dispose();
        _worker = null;
        return new CompilerAnswer { Failure = why };
    }

    private sealed class Worker(Process process) : IDisposable
    {
        public int Id => process.Id;

        public static Worker Start(IReadOnlyList<string> program, CompilerSetup setup)
        {
            var start = new ProcessStartInfo(program[0], program.Skip(1))
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                StandardInputEncoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false),
                StandardOutputEncoding = Encoding.UTF8,
            };

            // Code shaped by what was seen to run is some tenth faster and takes twice the memory.
            start.Environment.TryAdd("DOTNET_TieredPGO", "0");

            // Hexadecimal bytes: 2 GiB, ten times what real texts take.
            start.Environment.TryAdd("DOTNET_GCHeapHardLimit", "80000000");
            RuntimeTuning.KeepFrom(start.Environment);
            var process = Process.Start(start)!;
            process.StandardInput.AutoFlush = true;
            process.StandardInput.WriteLine(JsonSerializer.Serialize(setup, CompilerJson.Default.CompilerSetup));
            return new Worker(process);
        }

        public async Task<CompilerAnswer> Ask(CompilerRequest request)
        {
            await process.StandardInput.WriteLineAsync(JsonSerializer.Serialize(request, CompilerJson.Default.CompilerRequest));
            var line = await process.StandardOutput.ReadLineAsync() ?? throw new EndOfStreamException("it closed its output");

            // A pipe is read as a socket is, and an answer can be megabytes.
            await PoolThread.Take();
            return JsonSerializer.Deserialize(line, CompilerJson.Default.CompilerAnswer) ?? throw new JsonException("its answer is empty");
        }

        public void Dispose()
        {
            try
            {
                process.Kill(entireProcessTree: true);
            }
            catch (Exception e) when (e is InvalidOperationException or Win32Exception)
            {
                // It has ended.
            }

            process.Dispose();
        }
    }
}

using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Host.Scripts;

namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>The compiler in a process of its own, by the real program.</summary>
public sealed class CompilerProcessTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("scriptedserve-").FullName;
    private readonly LogLines _log = new();
    private readonly FakeTimeProvider _time = new();

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public async Task It_reads_and_compiles_as_the_compiler_itself_does()
    {
        await File.WriteAllTextAsync(Path.Combine(_root, "_part.csx"), "int Twice(int n) => n + n;");
        var rules = ScriptApiRules.Default.With(["T:System.IO.File"], ["T:System.Guid"]);
        var limits = new ScriptLimits { LoadFiles = 1 };
        var here = new ScriptCompiler(new ScriptFolder(_root), limits, rules);
        await using var there = new CompilerProcess(new ScriptFolder(_root), limits, rules, TimeProvider.System, _log.CreateLogger<CompilerProcess>());
        string[] texts =
        [
            CatalogHarness.Good,
            "#load \"_part.csx\"\n" + CatalogHarness.Answering(1),
            "#load \"missing.csx\"\n" + CatalogHarness.Good,
            "int Föö( { return \"\u2028\n\t\ud83d\ude00\"; }",
            CatalogHarness.Good + "\nvar id = System.Guid.NewGuid();",
            CatalogHarness.Good + "\nvar there = System.IO.File.Exists(\"a\");",
            "",
        ];
        foreach (var text in texts)
        {
            var (source, expected) = (await there.ReadAsync("r", text, CancellationToken.None), here.Read("r", text));
            Assert.Equal(expected.Hash, source.Hash);
            Assert.Equal(expected.Files, source.Files);
            Assert.Equal(expected.Refusals, source.Refusals);
            var (compiled, wanted) = (await there.CompileAsync(source, "r", CancellationToken.None), here.Compile(source, "r", CancellationToken.None));
            Assert.Equal(wanted.Assembly, compiled.Assembly);
            Assert.Equal(wanted.Symbols, compiled.Symbols);
            Assert.Equal((wanted.FactoryType, wanted.FactoryMethod), (compiled.FactoryType, compiled.FactoryMethod));
            Assert.Equal(wanted.Diagnostics, compiled.Diagnostics);
        }
    }

    [Fact]
    public async Task When_it_is_killed_the_next_text_is_compiled_by_another()
    {
        await using var compiler = new CompilerProcess(new ScriptFolder(_root), new ScriptLimits(), ScriptApiRules.Default, _time, _log.CreateLogger<CompilerProcess>());
        var source = await compiler.ReadAsync("r", CatalogHarness.Good, CancellationToken.None);
        var first = Assert.NotNull(compiler.ProcessId);
        using (var process = Process.GetProcessById(first))
        {
            process.Kill();
            await process.WaitForExitAsync();
        }

        Assert.NotNull((await compiler.CompileAsync(source, "r", CancellationToken.None)).Assembly);
        Assert.NotEqual(first, compiler.ProcessId);
        Assert.Contains(_log.Lines, line => line.Contains("compiler's process ended", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("true")]
    [InlineData("echo", "no answer")]
    public async Task A_text_that_ends_it_every_time_is_refused_and_named(params string[] program)
    {
        await using var compiler = Of(program);
        var source = await compiler.ReadAsync("deadly", CatalogHarness.Good, CancellationToken.None);
        Assert.Contains("ended over this text", Assert.Single(source.Refusals).Message, StringComparison.Ordinal);
        var failed = await compiler.CompileAsync(source with { Refusals = [] }, "deadly@1", CancellationToken.None);
        var diagnostic = Assert.Single(failed.Diagnostics);
        Assert.Equal(("deadly.csx", ScriptDiagnosticIds.CompilerFailed, true), (diagnostic.File, diagnostic.Id, diagnostic.IsError));
        Assert.Null(failed.Assembly);
        Assert.Null(compiler.ProcessId);
    }

    [Fact]
    public async Task A_program_that_cannot_be_started_refuses_texts_and_says_why()
    {
        await using var compiler = Of(Path.Combine(_root, "no-such-program"));
        var source = await compiler.ReadAsync("r", CatalogHarness.Good, CancellationToken.None);
        Assert.Contains("no-such-program", Assert.Single(source.Refusals).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_compile_without_end_is_ended_and_leaves_no_process()
    {
        await using var compiler = Of("sleep", "1000");
        var reading = compiler.ReadAsync("endless", CatalogHarness.Good, CancellationToken.None);
        while (compiler.ProcessId is null)
        {
            await Task.Yield();
        }

        var process = Process.GetProcessById(compiler.ProcessId.Value);
        while (!reading.IsCompleted)
        {
            _time.Advance(TimeSpan.FromMilliseconds(new ScriptLimits().CompileMs));
            await Task.Yield();
        }

        Assert.Contains("compile-ms", Assert.Single((await reading).Refusals).Message, StringComparison.Ordinal);
        await process.WaitForExitAsync();
    }

    [Fact]
    public async Task A_caller_that_waits_no_longer_leaves_the_answer_to_be_read()
    {
        await using var compiler = new CompilerProcess(new ScriptFolder(_root), new ScriptLimits(), ScriptApiRules.Default, _time, _log.CreateLogger<CompilerProcess>());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => compiler.ReadAsync("r", CatalogHarness.Answering(1), new CancellationToken(canceled: true)));
        var source = await compiler.ReadAsync("other", CatalogHarness.Answering(2), CancellationToken.None);
        Assert.Equal(("other.csx", CatalogHarness.Answering(2)), (source.Main.Path, source.Main.Text));
    }

    [Fact]
    public async Task It_ends_with_its_host()
    {
        var compiler = new CompilerProcess(new ScriptFolder(_root), new ScriptLimits(), ScriptApiRules.Default, _time, _log.CreateLogger<CompilerProcess>());
        await compiler.ReadAsync("r", CatalogHarness.Good, CancellationToken.None);
        using var process = Process.GetProcessById(compiler.ProcessId!.Value);
        await compiler.DisposeAsync();
        await process.WaitForExitAsync();
        Assert.Null(compiler.ProcessId);

        // However the host ends, the process's input ends.
        using var output = new MemoryStream();
        await CompilerWorker.RunAsync(new MemoryStream("{\"Folder\":\"/\",\"Limits\":{},\"Rules\":{}}\n"u8.ToArray()), output);
    }

    private CompilerProcess Of(params string[] program) =>
        new(new ScriptFolder(_root), new ScriptLimits(), ScriptApiRules.Default, _time, _log.CreateLogger<CompilerProcess>(), program);
}

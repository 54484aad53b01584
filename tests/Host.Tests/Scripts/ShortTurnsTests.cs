using ScriptedServe.Host.Scripts;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Host.Tests.Scripts;

/// <summary>Which scripts need no thread of their own: those that only choose engines and call them.</summary>
public sealed class ShortTurnsTests : IDisposable
{
    private readonly DirectoryInfo root = Directory.CreateTempSubdirectory("scriptedserve-");
    private readonly ScriptLimits limits = new();

    public void Dispose() => root.Delete(recursive: true);

    [Theory]
    [InlineData("data_parallel")]
    [InlineData("pd_disagg")]
    [InlineData("balanced_pd")]
    public void Shipped_routers_that_choose_and_call_have_them(string name) => Assert.True(HasShortTurns(File.ReadAllText(TestPaths.InRepository("scripts", name + ".csx"))));

    [Theory]
    [InlineData("await foreach (var chunk in Fleet.Where(engine => engine.Load.Running < 3).LeastLoaded().StartGenerate(r)) yield return chunk;", true)]
    [InlineData("var kv = await Fleet[0].PrepRecv(r, Math.Min(r.Length - 1, 8)); if (!kv.IsFullMatch) { await Fleet[1].RemoteSend(r, kv); } yield break;", true)]
    [InlineData("var engine = Fleet.Find(\"a\") ?? Fleet[0]; await foreach (var chunk in engine.StartGenerate(r)) { yield return chunk; }", true)]
    [InlineData("for (var i = 0; i < 3; i++) { } yield break;", false)]
    [InlineData("await foreach (var chunk in Fleet[0].StartGenerate(r)) { var same = chunk; yield return same; }", false)]
    [InlineData("again: if (r.Length > 5) { goto again; } yield break;", false)]
    [InlineData("Help(r.Length); yield break;", false)]
    [InlineData("var text = \"a\" + Fleet[0].Id; yield break;", false)]
    [InlineData("var text = $\"{r.Length}\"; yield break;", false)]
    [InlineData("var sorted = Fleet.OrderBy(engine => engine.Load.Running).First(); yield break;", false)]
    [InlineData("var most = Fleet.Where(engine => { while (true) ; }); yield break;", false)]
    [InlineData("var most = Fleet.Where(engine => Help(engine.Load.Running)); yield break;", false)]
    [InlineData("var long_ = new string('a', 1_000_000); yield break;", false)]
    [InlineData("Log.Info(\"once\"); yield break;", false)]
    [InlineData("try { await Fleet[0].PrepRecv(r); } finally { } yield break;", false)]
    [InlineData("var value = Own; yield break;", false)]
    [InlineData("Action<int> act = n => Help(n); yield break;", false)]
    public void What_could_take_long_or_is_not_known_does_not(string body, bool isShort) => Assert.Equal(isShort, HasShortTurns($$"""
        int Own => Help(3) ? 1 : 0;
        bool Help(int n) { for (;;) ; }
        async IAsyncEnumerable<Chunk> HandleRequest(Request r) { {{body}} }
        """));

    [Fact]
    public void Nor_does_a_script_with_types_of_its_own() => Assert.False(HasShortTurns("class Anything { }\n" + CatalogHarness.Good));

    private bool HasShortTurns(string text)
    {
        var folder = new ScriptFolder(root.FullName);
        var compiled = new ScriptCompiler(folder, limits, ScriptApiRules.Default).Compile(ScriptSource.Read("main.csx", text, folder, limits), "main", CancellationToken.None);
        Assert.DoesNotContain(compiled.Diagnostics, diagnostic => diagnostic.IsError);
        return compiled.HasShortTurns;
    }
}

using ScriptedServe.Host.Scripts;

namespace ScriptedServe.Host.Tests.Scripts;

public sealed class ScriptCompilerTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("scriptedserve-").FullName;
    private readonly ScriptLimits _limits = new();
    private ScriptApiRules _rules = ScriptApiRules.Default;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private IReadOnlyList<RouterDiagnostic> Compile(string text)
    {
        var compiler = new ScriptCompiler(new ScriptFolder(_root), _limits, _rules);
        var compiled = compiler.Compile(compiler.Read("r", text), "r", CancellationToken.None);
        Assert.Equal(compiled.Assembly is null, compiled.Diagnostics.Any(diagnostic => diagnostic.IsError));
        return compiled.Diagnostics;
    }

    [Theory]
    [InlineData("", "SS0001", 1)]
    [InlineData("\nChunk HandleRequest(Request request) => null;", "SS0002", 2)]
    [InlineData("\nIAsyncEnumerable<Chunk> HandleRequest() => null;", "SS0002", 2)]
    [InlineData("IAsyncEnumerable<Chunk> HandleRequest(string request) => null;", "SS0002", 1)]
    [InlineData("Task<IAsyncEnumerable<Chunk>> HandleRequest(Request request) => null;", "SS0002", 1)]
    [InlineData("IAsyncEnumerable<Chunk> HandleRequest<T>(Request request) => null;", "SS0002", 1)]
    [InlineData("Func<Request, IAsyncEnumerable<Chunk>> HandleRequest = r => null;", "SS0002", 1)]
    [InlineData("IAsyncEnumerable<Chunk> HandleRequest(Request a) => null; IAsyncEnumerable<Chunk> HandleRequest(int a) => null;", "SS0003", 1)]
    [InlineData(CatalogHarness.Good + "\nint PlanStrategy() => 1;", "SS0004", 2)]
    [InlineData(CatalogHarness.Good + "\nvoid OnLoad(string s) { }", "SS0004", 2)]
    public void A_wrong_entry_point_is_named_with_the_right_one(string text, string id, int line)
    {
        var diagnostics = Compile(text).Where(diagnostic => diagnostic.IsError).ToList();
        Assert.All(diagnostics, diagnostic => Assert.Equal((id, line), (diagnostic.Id, diagnostic.Line)));
        Assert.Contains(id == "SS0004" ? "async Task " : "IAsyncEnumerable<Chunk> HandleRequest(Request request)", diagnostics[0].Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("System.IO.File.ReadAllText(\"x\")", "SS0101")]
    [InlineData("new System.IO.StreamReader(\"x\")", "SS0101")]
    [InlineData("System.Diagnostics.Process.Start(\"x\")", "SS0102")]
    [InlineData("new System.Net.Http.HttpClient()", "SS0103")]
    [InlineData("new System.Net.Sockets.TcpClient()", "SS0103")]
    [InlineData("System.Reflection.Assembly.Load(\"x\")", "SS0104")]
    [InlineData("Type.GetType(\"System.IO.File\")", "SS0104")]
    [InlineData("typeof(int).GetMethods()", "SS0104")]
    [InlineData("Activator.CreateInstance(typeof(object))", "SS0104")]
    [InlineData("Run(() => Environment.Exit(1))", "SS0105")]
    [InlineData("Run(() => Environment.FailFast(\"x\"))", "SS0105")]
    [InlineData("Console.ReadLine()", "SS0105")]
    [InlineData("new Thread(() => { })", "SS0106")]
    [InlineData("new Timer(_ => { })", "SS0106")]
    [InlineData("Run(() => Parallel.For(0, 9, _ => { }))", "SS0106")]
    [InlineData("Run(() => Task.Delay(TimeSpan.Zero, Time).Wait())", "SS0107")]
    [InlineData("Task.FromResult(1).Result", "SS0107")]
    [InlineData("Task.FromResult(1).GetAwaiter().GetResult()", "SS0107")]
    [InlineData("Run(() => Thread.Sleep(1))", "SS0107")]
    [InlineData("Run(() => new SemaphoreSlim(0).Wait())", "SS0107")]
    [InlineData("System.Runtime.InteropServices.Marshal.AllocHGlobal(1)", "SS0108")]
    [InlineData("Run(async () => await Task.Yield())", "SS0112")]
    [InlineData("default(CancellationToken).Register(() => { })", "SS0113")]
    [InlineData("new Progress<int>(_ => { })", "SS0113")]
    [InlineData("new AsyncLocal<int>(_ => { })", "SS0113")]
    [InlineData("Run(() => Task.CompletedTask.GetAwaiter().OnCompleted(() => { }))", "SS0113")]
    [InlineData("Run(() => Task.CompletedTask.ConfigureAwait(false).GetAwaiter().UnsafeOnCompleted(() => { }))", "SS0113")]
    [InlineData("new ScriptedServe.Scripting.Runtime.ScriptScope(null, null, null, default)", "SS0110")]
    [InlineData("(Func<string, bool>)System.IO.File.Exists", "SS0101")]
    [InlineData("new List<System.Diagnostics.Process>()", "SS0102")]
    [InlineData("1.GetType().Assembly", "SS0104")]
    [InlineData("new Exception().TargetSite", "SS0104")]
    [InlineData("((Action)(() => { })).Method", "SS0104")]
    [InlineData("System.Reflection.RuntimeReflectionExtensions.GetRuntimeMethods(typeof(int))", "SS0104")]
    [InlineData("string.Intern(\"a\")", "SS0105")]
    [InlineData("Task.Run(() => { })", "SS0106")]
    [InlineData("Task.Factory", "SS0106")]
    [InlineData("Task.CompletedTask.ContinueWith(t => { })", "SS0113")]
    [InlineData("((IAsyncResult)Task.CompletedTask).AsyncWaitHandle.WaitOne()", "SS0107")]
    [InlineData("Task.FromResult(1) is { Result: 1 }", "SS0107")]
    [InlineData("Run(() => System.Threading.Monitor.Enter(new object()))", "SS0107")]
    [InlineData("new System.Text.RegularExpressions.Regex(\"(a+)+$\")", "SS0107")]
    [InlineData("System.Text.RegularExpressions.Regex.IsMatch(\"aaaa\", \"(a+)+$\", System.Text.RegularExpressions.RegexOptions.Compiled)", "SS0107")]
    [InlineData("Enumerable.InfiniteSequence(0, 1)", "SS0107")]
    [InlineData("System.Runtime.InteropServices.MemoryMarshal.AsMemory(ReadOnlyMemory<int>.Empty)", "SS0108")]
    public void An_api_that_could_harm_the_host_is_refused_where_it_is_used(string expression, string id)
    {
        var errors = Compile($"{CatalogHarness.Good}\nvoid Run(Action a) {{ }}\nobject Try() =>\n    {(expression.StartsWith("Run", StringComparison.Ordinal) ? "Twice(() => " + expression + ")" : expression)};\nobject Twice(Action a) => null;")
            .Where(diagnostic => diagnostic.IsError).ToList();
        Assert.Equal((id, 4), (Assert.Single(errors).Id, errors[0].Line));
    }

    [Theory]
    [InlineData("using F = System.IO.File; bool X() => F.Exists(\"x\");", "SS0101")]
    [InlineData("using static System.Environment; void X() => Exit(1);", "SS0105")]
    [InlineData("unsafe void X() { }", "SS0108")]
    [InlineData("unsafe class U { void X() { var a = 0; var p = &a; p[1] = 1; } }", "SS0108")]
    [InlineData("void X() { Span<int> s = stackalloc int[1 << 20]; }", "SS0108")]
    [InlineData("[System.Runtime.CompilerServices.InlineArray(1 << 20)] struct Big { int first; }", "SS0108")]
    [InlineData("[System.Runtime.InteropServices.DllImport(\"c\")] static extern int getpid();", "SS0108")]
    [InlineData("class X { ~X() { } }", "SS0111")]
    [InlineData("dynamic x = Task.CompletedTask; object Y() => x.Wait();", "SS0104")]
    [InlineData("async void X() => await Task.Yield();", "SS0112")]
    public void A_refused_api_does_not_hide_behind_an_alias_or_a_declaration(string declaration, string id)
    {
        var text = declaration.StartsWith("using", StringComparison.Ordinal) ? declaration + CatalogHarness.Good : CatalogHarness.Good + declaration;
        var errors = Compile(text).Where(diagnostic => diagnostic.IsError);
        Assert.All(errors, error => Assert.Equal(id, error.Id));
        Assert.NotEmpty(errors);
    }

    [Theory]
    [InlineData("Engine X() => Fleet.LeastLoadde();", "CS1061", "did you mean `LeastLoaded`?")]
    [InlineData("object X(Request r) => Fleet[0].Generate(r);", "CS1061", "did you mean `StartGenerate`?")]
    [InlineData("object X() => Fleeet.Count;", "CS0103", "did you mean `Fleet`?")]
    [InlineData("Enigne X() => null;", "CS0246", "did you mean `Engine`?")]
    [InlineData("async Task X(Request r) { var kv = Fleet[0].PrepRecv(r); Log.Info($\"{kv.MatchedTokens}\"); }", "CS1061", "`kv` gives a Task: write `(await kv).MatchedTokens`")]
    [InlineData("async Task X(Request r) { KvReservation kv = Fleet[0].PrepRecv(r); await Task.Yield(); }", "CS0029", "write `await Fleet[0].PrepRecv(r)`")]
    [InlineData("async Task X(Request r) => await Fleet[0].RemoteSend(r, Fleet[1].PrepRecv(r));", "CS1503", "write `await Fleet[1].PrepRecv(r)`")]
    [InlineData("void X(Request r) { await Task.Yield(); }", "CS4033", "`async Task X(...)`")]
    [InlineData("string X() => JsonSerializer.Serialize(1);", "CS0103", null)]
    public void A_common_slip_comes_with_what_was_meant(string slip, string id, string? hint)
    {
        var error = Compile(CatalogHarness.Good + "\n" + slip).First(diagnostic => diagnostic.IsError);
        Assert.Equal((id, 2), (error.Id, error.Line));
        Assert.Equal((slip, true), (error.Text, error.EndColumn > error.Column));
        if (hint is not null)
        {
            Assert.Contains(hint, error.Hint, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("IAsyncEnumerable<Chunk> HandleReqest(Request request) => null;", "SS0001", "rename `HandleReqest` to `HandleRequest`")]
    [InlineData("IAsyncEnumerable<Chunk> handleRequest(Request request) => null;", "SS0001", "rename `handleRequest` to `HandleRequest`")]
    [InlineData("IAsyncEnumerable<Chunk> Serve(Request request) => null;", "SS0001", "rename `Serve` to `HandleRequest`")]
    [InlineData("IAsyncEnumerable<Chunk> HandleRequest(Request request) { await Task.Yield(); yield return null; }", "CS8403", "`async IAsyncEnumerable<Chunk> HandleRequest(Request request)`")]
    [InlineData("async Chunk HandleRequest(Request request) { await Task.Yield(); return null; }", "CS1983", "`async IAsyncEnumerable<Chunk> HandleRequest(Request request)`")]
    public void A_handler_of_the_wrong_name_or_form_comes_with_the_right_one(string text, string id, string hint)
    {
        var errors = Compile(text).Where(diagnostic => diagnostic.IsError).ToList();
        Assert.Contains(errors, error => error.Hint?.Contains(hint, StringComparison.Ordinal) == true && error.Line == 1 && error.Id == id);
    }

    [Fact]
    public void A_wrong_return_type_is_explained_although_the_body_does_not_fit_it()
    {
        var errors = Compile("\nChunk HandleRequest(Request request) => Fleet.LeastLoaded().StartGenerate(request);");
        var explained = Assert.Single(errors, error => error.Id == "SS0002");
        Assert.Equal(2, explained.Line);
        Assert.Contains("IAsyncEnumerable<Chunk> HandleRequest(Request request)", explained.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_misspelt_optional_entry_point_is_warned_about()
    {
        var warning = Assert.Single(Compile(CatalogHarness.Good + "\nvoid Onload() { }"));
        Assert.Equal(("SS0011", 2, false, "rename it to `OnLoad`"), (warning.Id, warning.Line, warning.IsError, warning.Hint));
    }

    [Fact]
    public void An_operator_can_allow_and_refuse_apis()
    {
        const string text = CatalogHarness.Good + "\nvoid X() { GC.Collect(); new Random(1); }";
        Assert.Equal(["SS0105"], Compile(text).Select(diagnostic => diagnostic.Id));
        _rules = ScriptApiRules.Default.With(["M:System.GC.Collect"], ["T:System.Random"]);
        Assert.Equal(["SS0199"], Compile(text).Select(diagnostic => diagnostic.Id));
        foreach (var wrong in (string[])["System.GC", "T:", "X:System.GC", "T:System..GC", "M:System.GC.Collect()"])
        {
            Assert.Contains(wrong, Assert.Throws<FormatException>(() => ScriptApiRules.Default.With([wrong], [])).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void The_wall_clock_is_warned_about_and_an_own_type_of_a_refused_name_is_not()
    {
        var diagnostics = Compile(CatalogHarness.Good + "\nclass File { public static int Exists => 1; }\nint X() => File.Exists + DateTime.UtcNow.Day;\nTask Y() => Task.Delay(1);\nTask Z() => Task.Delay(TimeSpan.Zero, Time);\nstring? N(string? s) => s + Environment.NewLine + System.Environment.ProcessorCount;");
        Assert.Equal([("SS0109", 3), ("SS0109", 4)], diagnostics.Select(diagnostic => (diagnostic.Id, diagnostic.Line)));
    }

    [Fact]
    public void Loaded_neighbours_are_compiled_in_and_their_errors_carry_their_name()
    {
        Write("_pick.csx", "#load \"lib/_deep.csx\"\nEngine Pick() => Deep();");
        Write("lib/_deep.csx", "#load \"../_pick.csx\"\nEngine Deep() => Fleet.LeastLoaded();");
        const string text = "#load \"_pick.csx\"\nIAsyncEnumerable<Chunk> HandleRequest(Request request) => Pick().StartGenerate(request);";
        Assert.Empty(Compile(text));

        Write("lib/_deep.csx", "\n\nEngine Deep() => nonsense;");
        var error = Assert.Single(Compile(text));
        Assert.Equal(("lib/_deep.csx", 3, 18, "CS0103"), (error.File, error.Line, error.Column, error.Id));

        Write("lib/_deep.csx", "\nEngine Deep() { System.IO.File.Delete(\"x\"); return Fleet[0]; }");
        error = Assert.Single(Compile(text));
        Assert.Equal(("lib/_deep.csx", 2, "SS0101"), (error.File, error.Line, error.Id));
    }

    [Theory]
    [InlineData("../secret.csx", "leads out of the scripts folder")]
    [InlineData("a/../../secret.csx", "leads out of the scripts folder")]
    [InlineData("/etc/passwd", "leads out of the scripts folder")]
    [InlineData("link.csx", "is a link that leads out")]
    [InlineData("missing.csx", "no such file")]
    [InlineData("appsettings.json", "only .csx files")]
    [InlineData("large.csx", "setting script-source-kib")]
    [InlineData("d0.csx", "setting script-load-depth")]
    public void A_load_that_leads_astray_is_refused_where_it_is_written(string path, string reason)
    {
        File.CreateSymbolicLink(Path.Combine(_root, "link.csx"), Path.Combine(Path.GetTempPath(), "elsewhere.csx"));
        Write("large.csx", new string(' ', _limits.SourceBytes + 1));
        for (var i = 0; i <= _limits.LoadDepth; i++)
        {
            Write($"d{i}.csx", $"#load \"d{i + 1}.csx\"\n");
        }

        var error = Assert.Single(Compile($"\n#load \"{path}\"\n{CatalogHarness.Good}"));
        Assert.Equal("SS0005", error.Id);
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        if (path != "d0.csx")
        {
            Assert.Equal(("r.csx", 2, 1), (error.File, error.Line, error.Column));
        }
    }

    [Fact]
    public void A_linked_folder_cannot_lead_out_but_the_scripts_folder_may_itself_be_reached_through_a_link()
    {
        Write("outside/secret.csx", "");
        Write("mount/..v1/lib/_pick.csx", "Good");
        Directory.CreateSymbolicLink(Path.Combine(_root, "mount/..data"), "..v1");
        Directory.CreateSymbolicLink(Path.Combine(_root, "mount/lib"), "..data/lib");
        Directory.CreateSymbolicLink(Path.Combine(_root, "mount/out"), "../outside");
        Directory.CreateSymbolicLink(Path.Combine(_root, "mount/far"), "..data/../../outside");
        File.CreateSymbolicLink(Path.Combine(_root, "mount/by_way_of.csx"), "out/secret.csx");
        Directory.CreateSymbolicLink(Path.Combine(_root, "mount/circle"), "circle");
        Directory.CreateSymbolicLink(Path.Combine(_root, "scripts"), "mount");
        Directory.CreateSymbolicLink(Path.Combine(_root, "alias"), ".");

        foreach (var way in new[] { "mount", "scripts", "alias/scripts", "mount/..data/.." })
        {
            var folder = new ScriptFolder(Path.Combine(_root, way));
            Assert.Equal(("Good", null), folder.Read("lib/_pick.csx", 100));
            foreach (var astray in new[] { "out/secret.csx", "far/secret.csx", "by_way_of.csx" })
            {
                Assert.Equal((null, "it is a link that leads out of the scripts folder"), folder.Read(astray, 100));
            }

            Assert.Contains("links lead to it", folder.Read("circle/x.csx", 100).Refusal, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Only_listed_assemblies_can_be_referenced()
    {
        Assert.Empty(Compile("#r \"System.Text.Json\"\n" + CatalogHarness.Good + "string J(int x) => System.Text.Json.JsonSerializer.Serialize(x);"));
        var error = Assert.Single(Compile("#r \"System.Net.Mail\"\n" + CatalogHarness.Good));
        Assert.Equal(("SS0006", 1), (error.Id, error.Line));
        Assert.Contains("System.Text.Json", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_text_beyond_the_limit_or_nested_beyond_reason_is_refused()
    {
        Assert.Equal("SS0007", Assert.Single(Compile(CatalogHarness.Good + new string(' ', _limits.SourceBytes))).Id);

        // Each of these would end the process if the compiler met it unprepared; a runner that dies here is a failure.
        string[] nested =
        [
            new string('(', 100_000) + "1" + new string(')', 100_000),
            string.Concat(Enumerable.Repeat("List<", 40_000)),
            "$\"{" + new string('(', 100_000) + "\"",
            string.Concat(Enumerable.Repeat("1+", 60_000)) + "1",
            string.Concat(Enumerable.Repeat("x=>", 60_000)) + "1",
            new string('!', 100_000) + "true",
            string.Concat(Enumerable.Repeat("(int)", 40_000)) + "1",
            string.Concat(Enumerable.Repeat("a?b:", 40_000)) + "1",
        ];
        Assert.All(nested, expression => Assert.NotEmpty(Compile(CatalogHarness.Good + "object X() => " + expression + ";")));
        Assert.NotEmpty(Compile(CatalogHarness.Good + "void X() { " + string.Concat(Enumerable.Repeat("if(true)", 30_000)) + "; }"));
        Assert.NotEmpty(Compile(CatalogHarness.Good + "void X() { " + string.Concat(Enumerable.Repeat("if(true);else ", 15_000)) + "; }"));
    }

    [Fact]
    public void A_diagnostic_quotes_its_line_with_a_caret()
    {
        var diagnostic = Assert.Single(Compile(CatalogHarness.Good + "\n\tint x = nonsense;"));
        Assert.Equal(
            "r.csx(2,10): error CS0103: The name 'nonsense' does not exist in the current context\n    \tint x = nonsense;\n    \t        ^~~~~~~~",
            diagnostic.Render());
    }

    private void Write(string path, string text)
    {
        var full = Path.Combine(_root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full, text);
    }
}

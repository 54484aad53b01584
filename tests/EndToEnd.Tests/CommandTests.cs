using System.Text.Json.Nodes;
using ScriptedServe.EndToEnd.Tests.Support;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests;

/// <summary>The command line as a person uses it against a running host.</summary>
public sealed class CommandTests(CommandTests.Host fixture) : IClassFixture<CommandTests.Host>, IDisposable
{
    private const string Good = """
        IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet.LeastLoaded().StartGenerate(request);
        """;

    private const string Broken = """
        IAsyncEnumerable<Chunk> HandleRequest(Request request)
        {
            return Fleet.LeastLoaded().StartGenerat(request);
        }
        """;

    private readonly string folder = Directory.CreateTempSubdirectory("scriptedserve-commands-").FullName;

    public sealed class Host : IAsyncLifetime
    {
        public HostProcess Process { get; private set; } = null!;

        public JsonNode RoutersWhenReady { get; private set; } = null!;

        public async Task InitializeAsync()
        {
            Process = await HostProcess.StartAsync();
            RoutersWhenReady = await Process.GetJsonAsync("/admin/routers");
        }

        public Task DisposeAsync() => Process.DisposeAsync().AsTask();
    }

    private HostProcess Server => fixture.Process;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void A_host_that_is_ready_has_all_its_routers() =>
        Assert.Equal(
            Directory.GetFiles(Server.Scripts, "*.csx").Select(Path.GetFileNameWithoutExtension).Order(StringComparer.Ordinal),
            fixture.RoutersWhenReady["routers"]!.AsArray().Select(router => (string)router!["name"]!).Order(StringComparer.Ordinal));

    [Fact]
    public async Task A_script_is_pushed_switched_rolled_back_and_traced()
    {
        var file = Write("mine.csx", Good);
        Expect(await AskAsync("push", file, "--activate", "--message", "first of mine"), 0, "mine@1 is active");
        File.AppendAllText(file, "\n// Said otherwise.\n");
        Expect(await AskAsync("push", file), 0, "mine@2 is loaded", "activate mine --version 2");
        Assert.Equal("mine@1", await RouterOfNextAsync());

        var routers = await AskAsync("routers");
        Expect(routers, 0, "data_parallel (default)", "first of mine");
        Assert.Equal(["mine 2 loaded", "mine 1 active"], routers.Output.Split('\n').Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Where(cells => cells.Length > 2 && cells[0] == "mine").Select(cells => $"{cells[0]} {cells[1]} {cells[2]}"));

        Expect(await AskAsync("activate", "mine"), 0, "mine@2 is active");
        Assert.Equal("mine@2", await RouterOfNextAsync());
        Expect(await AskAsync("rollback", "mine"), 0, "mine@1 is active again");
        Assert.Equal("mine@1", await RouterOfNextAsync());

        var answer = await Server.PostAsync("/v1/completions", new JsonObject { ["prompt"] = "Once upon a time there was a fox who", ["max_tokens"] = 4 }, "pd_disagg");
        Expect(await AskAsync("trace", (string)answer["_request_id"]!), 0, "pd_disagg@1", "PrepRecv", "RemoteSend", "StartGenerate", "[0, ", "ok");
        Expect(await AskAsync("engines"), 0, "serving", "prefill", "decode", "cpu");
    }

    [Fact]
    public async Task A_broken_script_is_shown_with_its_line_and_a_caret_and_changes_nothing()
    {
        Expect(await AskAsync("check", Write("fine.csx", Good)), 0, "compiles");
        var file = Write("broken.csx", Broken);
        foreach (var command in (string[][])[["check", file], ["push", file, "--activate"]])
        {
            var run = await AskAsync(command);
            Assert.Equal(1, run.ExitCode);
            var lines = run.Errors.Split('\n');
            var at = Array.FindIndex(lines, line => line.StartsWith("broken.csx(3,32): error CS1061:", StringComparison.Ordinal));
            Assert.True(at >= 0, run.Errors);
            Assert.Contains("StartGenerat", lines[at], StringComparison.Ordinal);
            Assert.Equal(lines[at + 1].IndexOf("StartGenerat(", StringComparison.Ordinal), lines[at + 2].IndexOf('^', StringComparison.Ordinal));
            Assert.Contains("hint: did you mean `StartGenerate`?", run.Errors, StringComparison.Ordinal);
            Assert.Contains("nothing has changed", run.Errors, StringComparison.Ordinal);
            Assert.DoesNotContain("\u001b", run.Errors, StringComparison.Ordinal);
        }

        Assert.DoesNotContain("active", (await AskAsync("routers")).Output.Split('\n').Where(line => line.StartsWith("broken ", StringComparison.Ordinal)).SelectMany(line => line.Split(' ')));
    }

    [Fact]
    public async Task A_push_shows_the_first_requests_that_the_new_version_serves()
    {
        var file = Write("watched.csx", Good);
        Expect(await AskAsync("push", file, "--activate", "--watch", "0"), 0, "watched@1 is active");
        using var enough = new CancellationTokenSource();
        var traffic = Task.Run(async () =>
        {
            while (!enough.IsCancellationRequested)
            {
                _ = await Server.PostAsync("/v1/completions", new JsonObject { ["prompt"] = "a", ["max_tokens"] = 2 }, "watched");
            }
        });
        File.AppendAllText(file, "// again");
        var run = await AskAsync("push", file, "--activate", "--watch", "2");
        await enough.CancelAsync();
        await traffic;
        Expect(run, 0, "watched@2 is active", "  req-", "output 2 tokens");
        Assert.DoesNotContain("\u001b", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bash_completes_commands_and_the_routers_of_the_running_host()
    {
        var script = (await CommandRun.Of("completion", "bash")).Output;
        Assert.Equal("push", await CompleteAsync(script, "scriptedserve pus"));
        Assert.Equal("", await CompleteAsync(script, "scriptedserve serve libs"));
        Assert.Equal("round_robin", await CompleteAsync(script, "scriptedserve rollback rou"));
        Assert.Equal("", await CompleteAsync(script, "scriptedserve rollback rou", url: "http://127.0.0.1:1"));
        Assert.Contains("--activate", await CompleteAsync(script, "scriptedserve push --"), StringComparison.Ordinal);
        Expect(await CommandRun.Of("completion", "fish"), 2, "fish");
    }

    [RequiresFact(Need.Zsh)]
    public async Task Zsh_completes_the_routers_of_the_running_host()
    {
        // An interactive zsh on a terminal of its own, to which a tab is typed; it is read until the word is whole.
        const string Asking = """
            zmodload zsh/zpty
            zpty -b shell 'TERM=dumb zsh -f -i'
            wait_for() {
                local seen= chunk
                for i in {1..600}; do
                    zpty -r -t shell chunk && seen+=$chunk || sleep 0.05
                    [[ $seen == *$1* ]] && return 0
                done
                print -r -- "waited for '$1', saw: $seen"; return 1
            }
            zpty -w shell "autoload -U compinit; compinit -u; source ${(q)1}; bindkey '^I' complete-word; echo ready-$((40+2))"
            wait_for ready-42 && zpty -w -n shell $'scriptedserve rollback rou\t' && wait_for 'rollback round_robin' && print completed
            zpty -d shell
            """;
        var script = Write("completion.zsh", (await CommandRun.Of("completion", "zsh")).Output);
        using var zsh = new System.Diagnostics.Process
        {
            StartInfo = new System.Diagnostics.ProcessStartInfo("zsh", ["-f", "-c", Asking, "zsh", script]) { RedirectStandardOutput = true },
        };
        zsh.StartInfo.Environment["SCRIPTEDSERVE_URL"] = Server.Url.ToString();
        zsh.Start();
        Assert.Equal("completed", (await zsh.StandardOutput.ReadToEndAsync()).Trim());
    }

    /// <summary>What bash offers for a command line, as its readline would ask.</summary>
    private async Task<string> CompleteAsync(string script, string line, string? url = null)
    {
        var asking = $$"""
            {{script}}
            COMP_LINE='{{line}}' COMP_POINT={{line.Length}} COMP_WORDS=({{line}})
            _scriptedserve
            printf '%s\n' "${COMPREPLY[@]}"
            """;
        using var bash = new System.Diagnostics.Process
        {
            StartInfo = new System.Diagnostics.ProcessStartInfo("bash", ["--norc", "-c", asking]) { RedirectStandardOutput = true },
        };
        bash.StartInfo.Environment["SCRIPTEDSERVE_URL"] = url ?? Server.Url.ToString();
        bash.Start();
        return (await bash.StandardOutput.ReadToEndAsync()).Trim();
    }

    [Fact]
    public async Task What_is_not_there_is_named()
    {
        Expect(await AskAsync("push", Path.Combine(folder, "absent.csx")), 1, "absent.csx");
        Expect(await AskAsync("push", folder), 1, folder);
        Expect(await AskAsync("activate", "nobody"), 1, "nobody");
        Expect(await AskAsync("rollback", "nobody"), 1, "nobody");
        Expect(await AskAsync("rollback", "round_robin"), 1, "round_robin");
        Expect(await AskAsync("trace", "no-such-id"), 1, "no-such-id");
        Expect(await CommandRun.Of("routers", "--url", "http://127.0.0.1:1"), 1, "No host answers at http://127.0.0.1:1/", "--url");
        Expect(await CommandRun.Of("routers", "--url", "nonsense"), 1, "nonsense");
    }

    [Fact]
    public async Task What_is_asked_wrongly_is_refused_with_the_setting_and_its_limits()
    {
        Expect(await CommandRun.Of("serve", "--port", "70000"), 2, "port", "70000", "65535");
        Expect(await CommandRun.Of("serve", "--host", "0.0.0.0", "--port", "0"), 2, "--admin-token");
        Expect(await CommandRun.Of("conquer"), 2, "conquer");
        Expect(await CommandRun.Of("push"), 2, "push");
        Expect(await CommandRun.Of("serve", "--port", Server.Url.Port.ToString(System.Globalization.CultureInfo.InvariantCulture)), 1, "cannot listen", "--port");
        Expect(await CommandRun.Of("serve", "--port", "0", "--model", folder), 1, folder);
        Expect(await CommandRun.Of("serve", "--port", "0", "--store", "postgres://ann:topsecret@db/routers?nonsense=1"), 2, "--store", "nonsense");
        Expect(await CommandRun.Of("serve", "--port", "0", "--data", Write("no-folder", "a file")), 1, "--data", "no-folder");
        Expect(await CommandRun.Of("serve", "--port", "0", "--warm-up-compiles", "1001"), 2, "--warm-up-compiles", "1000");
    }

    private static void Expect(CommandRun run, int exitCode, params string[] mentions)
    {
        var text = exitCode == 0 ? run.Output : run.Errors;
        Assert.True(run.ExitCode == exitCode, $"exit code {run.ExitCode}:\n{run.Output}{run.Errors}");
        Assert.All(mentions, mention => Assert.Contains(mention, text, StringComparison.Ordinal));
        Assert.DoesNotContain("   at ", run.Output + run.Errors, StringComparison.Ordinal);
    }

    private Task<CommandRun> AskAsync(params string[] arguments) => CommandRun.Of([.. arguments, "--url", Server.Url.ToString()]);

    private async Task<string> RouterOfNextAsync() =>
        (string)(await Server.PostAsync("/v1/completions", new JsonObject { ["prompt"] = "a", ["max_tokens"] = 1 }, "mine"))["_router"]!;

    private string Write(string name, string text)
    {
        var path = Path.Combine(folder, name);
        File.WriteAllText(path, text);
        return path;
    }
}

using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.Http.Json;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.EndToEnd.Tests.Support;

/// <summary>
/// The host as a user runs it: a process of its own with its engines, on a free port, over a private copy of <c>scripts/</c>.
/// </summary>
public sealed partial class HostProcess : IAsyncDisposable
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(90);

    private readonly Process process;
    private readonly ConcurrentQueue<string> output;
    private readonly bool ownsFolder;

    private HostProcess(Process process, ConcurrentQueue<string> output, Uri url, string folder, bool ownsFolder)
    {
        this.process = process;
        this.output = output;
        this.ownsFolder = ownsFolder;
        Folder = folder;
        Client = new HttpClient { BaseAddress = url, Timeout = TimeSpan.FromMinutes(2) };
    }

    public HttpClient Client { get; }

    public Uri Url => Client.BaseAddress!;

    /// <summary>The folder of routers this host watches; tests may write to it.</summary>
    public string Scripts => Path.Combine(Folder, "scripts");

    /// <summary>Holds the scripts, and beside them what the host keeps.</summary>
    public string Folder { get; }

    public bool HasExited => process.HasExited;

    /// <summary>All the host has printed so far.</summary>
    public string Output => string.Join('\n', output);

    /// <summary>Starts a host in a folder of its own and returns once it is ready to serve.</summary>
    public static async Task<HostProcess> StartAsync(params string[] arguments)
    {
        var host = await StartInAsync(NewFolder(), ownsFolder: true, arguments);
        await Eventually.TrueAsync("the host is ready", async () => (await host.Client.GetAsync("/ready")).IsSuccessStatusCode, StartLimit, () => host.Output);
        return host;
    }

    /// <summary>A folder with a copy of the repository's scripts.</summary>
    public static string NewFolder()
    {
        var folder = Directory.CreateTempSubdirectory("scriptedserve-e2e-").FullName;
        Directory.CreateDirectory(Path.Combine(folder, "scripts"));
        foreach (var file in Directory.GetFiles(TestPaths.InRepository("scripts")))
        {
            File.Copy(file, Path.Combine(folder, "scripts", Path.GetFileName(file)));
        }

        return folder;
    }

    /// <summary>Starts a host in a folder and returns once it listens.</summary>
    /// <param name="ownsFolder">The folder goes with the host.</param>
    public static async Task<HostProcess> StartInAsync(string folder, bool ownsFolder, params string[] arguments)
    {
        var process = new Process
        {
            StartInfo = new ProcessStartInfo("dotnet")
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                WorkingDirectory = Path.GetTempPath(),
            },
        };
        foreach (var argument in (string[])[BuildOutput.Of("host", "ScriptedServe.Host"), "serve", "--port", "0", "--scripts", Path.Combine(folder, "scripts"), .. arguments])
        {
            process.StartInfo.ArgumentList.Add(argument);
        }

        // Some seconds of CPU for each of many short-lived hosts.
        process.StartInfo.Environment.TryAdd("SCRIPTEDSERVE_WARM_UP_COMPILES", "0");
        var output = new ConcurrentQueue<string>();
        var listening = new TaskCompletionSource<Uri>(TaskCreationOptions.RunContinuationsAsynchronously);
        void OnLine(string? line)
        {
            if (line is null)
            {
                return;
            }

            output.Enqueue(line);
            if (ListeningLine().Match(line) is { Success: true } match)
            {
                listening.TrySetResult(new Uri(match.Value));
            }
        }

        process.OutputDataReceived += (_, e) => OnLine(e.Data);
        process.ErrorDataReceived += (_, e) => OnLine(e.Data);
        process.EnableRaisingEvents = true;
        process.Exited += (_, _) => listening.TrySetException(new InvalidOperationException($"the host exited:\n{string.Join('\n', output)}"));
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();

        var url = await listening.Task.WaitAsync(StartLimit);
        return new HostProcess(process, output, url, folder, ownsFolder);
    }

    /// <summary>Ends the host's process at once, as <c>kill -9</c> does; its engines see it and end.</summary>
    public async Task KillAsync()
    {
        process.Kill();
        await process.WaitForExitAsync();
    }

    /// <summary>POSTs a body and returns the parsed answer; a status other than 200 fails with the answer's text.</summary>
    public async Task<JsonObject> PostAsync(string path, JsonObject body, string? router = null, CancellationToken cancellationToken = default)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = JsonContent.Create(body) };
        if (router is not null)
        {
            request.Headers.Add("X-Router", router);
        }

        using var response = await Client.SendAsync(request, cancellationToken);
        var text = await response.Content.ReadAsStringAsync(cancellationToken);
        Assert.True(response.IsSuccessStatusCode, $"{path} through {router ?? "the default router"}: {(int)response.StatusCode} {text}");
        var answer = JsonNode.Parse(text)!.AsObject();
        answer["_request_id"] = response.Headers.GetValues("X-Request-Id").Single();
        answer["_router"] = response.Headers.GetValues("X-Router").Single();
        return answer;
    }

    public async Task<JsonNode> GetJsonAsync(string path) => JsonNode.Parse(await Client.GetStringAsync(path))!;

    /// <summary>Fails unless, within a moment, no engine holds a page for anybody: free + cached = total.</summary>
    public Task NothingIsHeldAsync() => Eventually.TrueAsync("no engine holds pages", async () =>
    {
        var engines = (await GetJsonAsync("/admin/engines"))["engines"]!.AsArray();
        return engines.Count > 0 && engines.All(engine =>
            engine!["load"] is { } load
            && (int)load["running"]! == 0 && (int)load["waiting"]! == 0 && (int)load["reservations"]! == 0
            && (int)load["kv_pages_held"]! == 0 && (int)load["kv_pages_free"]! == (int)load["kv_pages_total"]!);
    }, TimeSpan.FromSeconds(20), async () => (await GetJsonAsync("/admin/engines")).ToJsonString());

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        if (!process.HasExited)
        {
            _ = Kill(process.Id, SigTerm);
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
            try
            {
                await process.WaitForExitAsync(limit.Token);
            }
            catch (OperationCanceledException)
            {
                process.Kill(entireProcessTree: true);
                throw new InvalidOperationException($"the host did not end on SIGTERM:\n{Output}");
            }
        }

        process.Dispose();
        if (ownsFolder)
        {
            Directory.Delete(Folder, recursive: true);
        }
    }

    private const int SigTerm = 15;

    [DllImport("libc", EntryPoint = "kill", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Kill(int processId, int signal);

    [GeneratedRegex(@"http://127\.0\.0\.1:[1-9]\d*")]
    private static partial Regex ListeningLine();
}

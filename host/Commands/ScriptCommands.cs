using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using ScriptedServe.Host.Scripts;

namespace ScriptedServe.Host.Commands;

/// <summary><c>check</c> and <c>push</c>: what they do and print. Each returns the exit code: 0, or 1 if the script was refused.</summary>
internal sealed class ScriptCommands(AdminClient host, TextWriter output, TextWriter errors, Terminal terminal, TimeProvider time)
{
    /// <summary>How long the first requests on a new version are waited for.</summary>
    public static readonly TimeSpan WatchLimit = TimeSpan.FromSeconds(2);

    private static readonly TimeSpan Glance = TimeSpan.FromMilliseconds(100);

    /// <param name="watch">Requests on the new version to wait for and print, <see cref="WatchLimit"/> long at most.</param>
    public async Task<int> PushAsync(string file, string? name, bool activate, string? message, int watch, CancellationToken cancellationToken)
    {
        var (router, text) = await ReadAsync(file, name, cancellationToken);
        var path = $"admin/routers/{router}?activate={(activate ? "true" : "false")}{(message is null ? "" : $"&message={Uri.EscapeDataString(message)}")}";
        var (status, reply) = await host.TrySendAsync(HttpMethod.Put, path, Source(text), cancellationToken);
        if (IsRefused(file, text, status, reply))
        {
            return 1;
        }

        PrintDiagnostics(file, text, reply?["diagnostics"] as JsonArray);
        var version = reply?["version"] is JsonObject nested ? nested : reply;
        var label = $"{router}@{version?["version"]}";
        await output.WriteLineAsync(terminal.Green(activate ? $"{label} is active" : $"{label} is loaded; activate it with: activate {router} --version {version?["version"]}"));
        if (activate && watch > 0)
        {
            await WatchAsync(label, watch, cancellationToken);
        }

        return 0;
    }

    public async Task<int> CheckAsync(string file, string? name, CancellationToken cancellationToken)
    {
        var (router, text) = await ReadAsync(file, name, cancellationToken);
        var (status, reply) = await host.TrySendAsync(HttpMethod.Post, $"admin/routers/{router}/check", Source(text), cancellationToken);
        if (IsRefused(file, text, status, reply))
        {
            return 1;
        }

        PrintDiagnostics(file, text, reply as JsonArray ?? reply?["diagnostics"] as JsonArray);
        await output.WriteLineAsync(terminal.Green($"{file} compiles."));
        return 0;
    }

    /// <summary>Prints the first requests that ended on a version.</summary>
    private async Task WatchAsync(string version, int most, CancellationToken cancellationToken)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        var began = time.GetTimestamp();
        var running = 0;
        while (true)
        {
            var reply = await host.SendAsync(HttpMethod.Get, "admin/requests?limit=100", null, cancellationToken);
            var own = ((reply?["requests"] as JsonArray) ?? []).Where(request => request?["router"]?.ToString() == version).Reverse().ToList();
            running = own.Count(request => request!["outcome"]?.ToString() == "running");
            foreach (var request in own.Where(request => request!["outcome"]?.ToString() != "running" && seen.Count < most && seen.Add(request["id"]!.ToString())))
            {
                Print(request!);
            }

            if (seen.Count >= most)
            {
                return;
            }

            if (time.GetElapsedTime(began) >= WatchLimit)
            {
                break;
            }

            await Task.Delay(Glance, time, cancellationToken);
        }

        await output.WriteLineAsync(string.Create(
            CultureInfo.InvariantCulture,
            $"{(seen.Count == 0 ? "no request has" : seen.Count == 1 ? "1 request has" : $"{seen.Count} requests have")} ended on it within {WatchLimit.TotalSeconds:0} s, {running} under way"));
    }

    private void Print(JsonNode request)
    {
        var outcome = request["outcome"]?.ToString();
        var line = new StringBuilder($"  {request["id"]}  ").Append(outcome == "ok" ? terminal.Green("ok") : terminal.Red(outcome ?? ""));
        line.Append(CultureInfo.InvariantCulture, $"  prompt {request["prompt_tokens"]}, output {request["output_tokens"]} tokens");
        foreach (var (field, what) in (ReadOnlySpan<(string, string)>)[("ttft_ms", "first after"), ("duration_ms", "ended after")])
        {
            if (request[field] is JsonValue value && value.TryGetValue<double>(out var ms))
            {
                line.Append(CultureInfo.InvariantCulture, $", {what} {ms:0.0} ms");
            }
        }

        output.WriteLine(request["error"] is { } error ? line.Append("  ").Append(error) : line);
    }

    private static async Task<(string Router, string Text)> ReadAsync(string file, string? name, CancellationToken cancellationToken)
    {
        if (!File.Exists(file))
        {
            throw new CommandException($"There is no file '{file}'.");
        }

        return (Uri.EscapeDataString(name ?? Path.GetFileNameWithoutExtension(file)), await File.ReadAllTextAsync(file, cancellationToken));
    }

    private static StringContent Source(string text) => new(text, Encoding.UTF8, "text/plain");

    /// <exception cref="CommandException">The host refuses for another reason than the script.</exception>
    private bool IsRefused(string file, string text, HttpStatusCode status, JsonNode? reply)
    {
        if (status != HttpStatusCode.UnprocessableEntity)
        {
            return (int)status >= 400 ? throw AdminClient.Refused((int)status, reply) : false;
        }

        PrintDiagnostics(file, text, reply as JsonArray ?? reply?["diagnostics"] as JsonArray);
        errors.WriteLine(terminal.Red($"{file} was refused; nothing has changed on the host."));
        return true;
    }

    /// <summary>Each with its line and a mark under the columns, as compilers print them.</summary>
    private void PrintDiagnostics(string file, string text, JsonArray? diagnostics)
    {
        foreach (var diagnostic in diagnostics ?? [])
        {
            var (line, column) = (Number(diagnostic?["line"]), Number(diagnostic?["column"]));
            var isError = diagnostic?["severity"]?.ToString() == "error";
            Func<string, string> mark = isError ? terminal.Red : terminal.Yellow;
            var message = $"{terminal.Bold($"{diagnostic?["file"]}({line},{column}):")} {mark($"{diagnostic?["severity"]} {diagnostic?["id"]}:")} {diagnostic?["message"]}";
            var quoted = diagnostic?["text"]?.ToString() ?? OwnLine(file, text, diagnostic?["file"]?.ToString(), line);
            errors.WriteLine(RouterDiagnostic.Render(message, quoted, column, Number(diagnostic?["end_column"]), diagnostic?["hint"]?.ToString(), mark));
        }
    }

    /// <summary>The line of the file that was sent, where the host did not quote it.</summary>
    private static string? OwnLine(string file, string text, string? named, int line) =>
        line > 0 && Path.GetFileNameWithoutExtension(named ?? "") == Path.GetFileNameWithoutExtension(file)
            ? text.Split('\n').ElementAtOrDefault(line - 1)?.TrimEnd('\r')
            : null;

    private static int Number(JsonNode? node) => node is JsonValue value && value.TryGetValue<int>(out var number) ? number : 0;
}

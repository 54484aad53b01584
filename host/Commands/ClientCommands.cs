using System.Globalization;
using System.Text.Json.Nodes;

namespace ScriptedServe.Host.Commands;

/// <summary>What the client commands do and print. Each returns the exit code: 0, or 1 if the host said no.</summary>
internal sealed class ClientCommands(AdminClient host, TextWriter output)
{
    public async Task<int> RoutersAsync(CancellationToken cancellationToken)
    {
        var reply = await host.SendAsync(HttpMethod.Get, "admin/routers", null, cancellationToken);
        RouterTable.Write(reply ?? new JsonObject(), output);
        return 0;
    }

    /// <param name="version">A number or a label; null for the newest that is loaded.</param>
    /// <param name="share">Percent, for a canary; null for all requests.</param>
    public async Task<int> ActivateAsync(string name, string? version, double? share, string? header, string? message, CancellationToken cancellationToken)
    {
        var wanted = version ?? (await NewestLoadedAsync(name, cancellationToken)).ToString(CultureInfo.InvariantCulture);
        var path = $"admin/routers/{Uri.EscapeDataString(name)}/activate?version={Uri.EscapeDataString(wanted)}"
            + (share is { } percent ? $"&share={percent.ToString(CultureInfo.InvariantCulture)}" : "")
            + (header is null ? "" : $"&header={Uri.EscapeDataString(header)}")
            + Message(message);
        var reply = await host.SendAsync(HttpMethod.Post, path, null, cancellationToken);
        await output.WriteLineAsync(share is < 100
            ? $"{name}@{reply?["version"]} takes {reply?["traffic"]}% of the requests; 'activate {name} --version {reply?["version"]}' gives it all, 'rollback {name}' none"
            : $"{name}@{reply?["version"]} is active");
        return 0;
    }

    public async Task<int> RollbackAsync(string name, string? message, CancellationToken cancellationToken)
    {
        var reply = await host.SendAsync(HttpMethod.Post, $"admin/routers/{Uri.EscapeDataString(name)}/rollback?{Message(message).TrimStart('&')}", null, cancellationToken);
        await output.WriteLineAsync($"{name}@{reply?["version"]} is active again");
        return 0;
    }

    /// <param name="version">A number or another label; null removes the label.</param>
    public async Task<int> LabelAsync(string name, string label, string? version, CancellationToken cancellationToken)
    {
        var path = $"admin/routers/{Uri.EscapeDataString(name)}/labels/{Uri.EscapeDataString(label)}";
        if (version is null)
        {
            await host.SendAsync(HttpMethod.Delete, path, null, cancellationToken);
            await output.WriteLineAsync($"{name}@{label} names nothing any more");
            return 0;
        }

        var reply = await host.SendAsync(HttpMethod.Put, $"{path}?version={Uri.EscapeDataString(version)}", null, cancellationToken);
        await output.WriteLineAsync($"{name}@{label} is {name}@{reply?["version"]}");
        return 0;
    }

    /// <summary>Starts a shadow where a version is named, ends it where asked, and else tells what came of it.</summary>
    public async Task<int> ShadowAsync(string name, int? version, double? sample, bool stop, CancellationToken cancellationToken)
    {
        var query = version is null ? "" : string.Create(CultureInfo.InvariantCulture, $"?version={version}&sample={sample ?? 10}");
        var method = stop ? HttpMethod.Delete : version is null ? HttpMethod.Get : HttpMethod.Post;
        ShadowReport.Write((await host.SendAsync(method, $"admin/routers/{Uri.EscapeDataString(name)}/shadow{query}", null, cancellationToken))!, output);
        return 0;
    }

    public async Task<int> EnginesAsync(CancellationToken cancellationToken)
    {
        var reply = await host.SendAsync(HttpMethod.Get, "admin/engines", null, cancellationToken);
        var table = new Table("ENGINE", "STATE", "LABELS", "DEVICE", "RUNNING", "WAITING", "PREFILL", "KV", "KV FREE", "IN FLIGHT", "RESTARTS", "REASON");
        foreach (var engine in Rows(reply, "engines"))
        {
            var load = engine?["load"];
            table.Add(
                engine?["id"],
                engine?["state"],
                string.Join(',', Rows(engine?["labels"], "labels").Select(label => label?.ToString())),
                engine?["device"],
                load?["running"],
                load?["waiting"],
                load?["prefill_tokens_queued"],
                engine?["kv_data_type"],
                load is null ? "" : $"{load["kv_pages_free"]}/{load["kv_pages_total"]}",
                engine?["in_flight"],
                engine?["restarts"],
                engine?["reason"]);
        }

        table.Write(output);
        return 0;
    }

    public async Task<int> TraceAsync(string id, CancellationToken cancellationToken)
    {
        var reply = await host.SendAsync(HttpMethod.Get, $"admin/requests/{Uri.EscapeDataString(id)}", null, cancellationToken);
        foreach (var choice in Rows(reply?["choices"], "choices").Prepend(reply).OfType<JsonNode>())
        {
            TraceTimeline.Write(choice, output);
        }

        return 0;
    }

    private async Task<int> NewestLoadedAsync(string name, CancellationToken cancellationToken)
    {
        var reply = await host.SendAsync(HttpMethod.Get, "admin/routers", null, cancellationToken);
        var router = Rows(reply, "routers").FirstOrDefault(router => router?["name"]?.ToString() == name)
            ?? throw new CommandException($"The host has no router '{name}'.");
        var usable = Rows(router["versions"], "versions").Where(version => version?["state"]?.ToString() is "loaded" or "active").Select(version => Number(version?["version"]));
        return usable.DefaultIfEmpty(0).Max() is > 0 and var newest ? newest : throw new CommandException($"Router '{name}' has no loaded version.");
    }

    private static string Message(string? message) => message is null ? "" : $"&message={Uri.EscapeDataString(message)}";

    private static int Number(JsonNode? node) => node is JsonValue value && value.TryGetValue<int>(out var number) ? number : 0;

    private static IEnumerable<JsonNode?> Rows(JsonNode? node, string key) => node as JsonArray ?? node?[key] as JsonArray ?? [];
}

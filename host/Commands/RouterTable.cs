using System.Globalization;
using System.Text.Json.Nodes;

namespace ScriptedServe.Host.Commands;

/// <summary>Prints the routers of <c>/admin/routers</c>: a line a version, with its figures of the last while, and what the guard says of new ones.</summary>
internal static class RouterTable
{
    public static void Write(JsonNode reply, TextWriter output)
    {
        var table = new Table("ROUTER", "VERSION", "STATE", "TRAFFIC", "LABELS", "LEASES", "REQUESTS", "ERRORS", "ERROR RATE", "TTFT P50/P95", "TPOT P50/P95", "JCT P50/P95", "SHARE", "AUTHOR", "MESSAGE");
        foreach (var router in Items(reply["routers"]))
        {
            var canary = Number(router["canary"]?["version"]);
            foreach (var version in Items(router["versions"]))
            {
                var lately = version["lately"];
                table.Add(
                    $"{router["name"]}{(router["is_default"]?.GetValue<bool>() == true ? " (default)" : "")}",
                    version["version"],
                    canary > 0 && Number(version["version"]).Equals(canary) ? "canary" : version["state"],
                    Number(version["traffic"]) is > 0 and var traffic ? traffic.ToString("0.##", CultureInfo.InvariantCulture) + "%" : "",
                    string.Join(',', Items(version["labels"]).Select(label => label.ToString())),
                    version["leases"],
                    version["requests"],
                    version["errors"],
                    lately is null ? "" : Percent(lately["error_rate"]),
                    Latency(lately?["ttft"]),
                    Latency(lately?["tpot"]),
                    Latency(lately?["jct"]),
                    version["share"] is null ? "" : Percent(version["share"]),
                    version["author"],
                    version["message"]);
            }
        }

        table.Write(output);
        foreach (var warning in Items(reply["warnings"]))
        {
            output.WriteLine($"warning: {warning}");
        }

        foreach (var router in Items(reply["routers"]))
        {
            foreach (var trial in Items(router["guard"]))
            {
                output.WriteLine($"{router["name"]}: {Guard(trial)}");
            }
        }
    }

    private static string Guard(JsonNode trial)
    {
        var versions = $"version {trial["version"]} {(trial["is_canary"]?.GetValue<bool>() == true ? "beside" : "after")} version {trial["against"]}";
        var why = trial["why"]?["text"];
        return trial["state"]?.ToString() switch
        {
            "watching" => $"the guard watches {versions}",
            "accepted" => $"the guard found {versions} no worse",
            "rolled_back" => $"the guard took back {versions}: {why}",
            "stuck" => $"the guard could not take back {versions}: {why}",
            _ => $"the guard no longer watches {versions}",
        };
    }

    private static string Latency(JsonNode? latency) =>
        Number(latency?["count"]) > 0 ? string.Create(CultureInfo.InvariantCulture, $"{Number(latency!["p50_ms"]):0.0}/{Number(latency["p95_ms"]):0.0} ms") : "";

    private static string Percent(JsonNode? share) => Number(share).ToString("P0", CultureInfo.InvariantCulture);

    private static double Number(JsonNode? node) => node is JsonValue value && value.TryGetValue<double>(out var number) ? number : 0;

    private static IEnumerable<JsonNode> Items(JsonNode? node) => (node as JsonArray)?.OfType<JsonNode>() ?? [];
}

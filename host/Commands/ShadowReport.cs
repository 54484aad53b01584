using System.Globalization;
using System.Text.Json.Nodes;

namespace ScriptedServe.Host.Commands;

/// <summary>Prints how a shadow's decisions compare with those of the versions that serve.</summary>
internal static class ShadowReport
{
    public static void Write(JsonNode view, TextWriter output)
    {
        output.WriteLine(
            $"{view["router"]}@{view["version"]} shadows {view["sample"]}% of {view["router"]}: {view["compared"]} requests compared, {view["same"]} alike ({Percent(view["agreement"])}); {view["skipped"]} skipped, {view["dropped"]} dropped");
        if (view["different"] is JsonObject different)
        {
            output.WriteLine($"  different: {string.Join(", ", different.Select(kind => $"{kind.Key} {kind.Value}"))}");
        }

        output.WriteLine($"  script time a request: {view["thread_ms_mean"]} ms, of those that serve {view["served_thread_ms_mean"]} ms");
        foreach (var sample in (view["differences"] as JsonArray)?.OfType<JsonNode>() ?? [])
        {
            output.WriteLine($"  {sample["request"]}  {sample["difference"]}");
            output.WriteLine($"    {sample["served"]}: {Calls(sample["served_calls"])}");
            output.WriteLine($"    shadow: {Calls(sample["shadow_calls"])}{(sample["error"] is { } error ? $"; {error}" : "")}");
        }
    }

    private static string Calls(JsonNode? calls) => string.Join("; ", ((calls as JsonArray)?.OfType<JsonNode>() ?? []).Select(call =>
        $"{call["engine"]}{(call["to"] is { } to ? $" -> {to}" : "")} {call["call"]} [{call["begin"]}, {call["end"]})"));

    private static string Percent(JsonNode? share) => share is JsonValue value && value.TryGetValue<double>(out var number) ? number.ToString("P1", CultureInfo.InvariantCulture) : "";
}

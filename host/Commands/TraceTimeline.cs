using System.Globalization;
using System.Text.Json.Nodes;

namespace ScriptedServe.Host.Commands;

/// <summary>Puts a request of <c>/admin/requests/{id}</c> into words: what its script saw, decided and said, and its sub-calls, in the order of their times.</summary>
internal static class TraceTimeline
{
    public static void Write(JsonNode trace, TextWriter output)
    {
        output.WriteLine($"{trace["id"]}  {trace["router"]}  {trace["outcome"]}  prompt {trace["prompt_tokens"]}, output {trace["output_tokens"]} tokens, first after {Ms(trace["ttft_ms"])}, ended after {Ms(trace["duration_ms"])}");
        if (trace["error"] is { } error)
        {
            output.WriteLine($"  {trace["fault"] ?? "ended"}: {error}");
        }

        var rows = Items(trace["decisions"]).Select(decision => (At: Number(decision["at_ms"]), Text: Decision(decision)))
            .Concat(Items(trace["calls"]).Select(call => (At: Number(call["start_ms"]), Text: Call(call))))
            .OrderBy(row => row.At).ToList();
        var width = rows.Select(row => Ms(row.At).Length).DefaultIfEmpty(0).Max();
        foreach (var (at, text) in rows)
        {
            output.WriteLine($"  {Ms(at).PadLeft(width)}  {text}");
        }

        if (trace["script"] is { } script)
        {
            var dropped = script["decisions_dropped"] is { } count && Number(count) > 0 ? $"; {count} more decisions and log lines were not kept (setting trace-entries)" : "";
            output.WriteLine($"  the script had a thread for {Ms(script["thread_ms"])} and allocated {Size(script["allocated_bytes"])}{dropped}");
        }
    }

    private static string Decision(JsonNode decision) => decision["kind"]?.ToString() switch
    {
        "log" => $"log{(decision["level"]?.ToString() == "warn" ? " warning" : "")}: {decision["text"]}",
        "load" => $"read the load of {decision["engine"]}: {string.Join(", ", ((JsonObject)decision["load"]!).Select(field => $"{field.Key.Replace('_', ' ')} {field.Value}"))}",
        "cached_tokens" => $"read the cache of {decision["engine"]}: {decision["cached_tokens"]} tokens of the request",
        "find" => decision["chose"] is { } found ? $"found {found}" : $"found no engine {decision["of"]}",
        var kind => $"chose {decision["chose"]} of {decision["of"]}, {kind?.Replace('_', ' ')}{Seen(decision)}",
    };

    private static string Seen(JsonNode choice)
    {
        var seen = Items(choice["candidates"]).Select(candidate => (Engine: candidate["engine"], What: string.Join(", ", Figures(candidate)))).Where(candidate => candidate.What.Length > 0).ToList();
        var more = Number(choice["among"]) - Items(choice["candidates"]).Count();
        return seen.Count == 0 ? "" : $": {string.Join("; ", seen.Select(candidate => $"{candidate.Engine} {candidate.What}"))}{(more > 0 ? $"; {more} more" : "")}";
    }

    private static IEnumerable<string> Figures(JsonNode candidate)
    {
        if (candidate["cached_tokens"] is { } cached)
        {
            yield return $"cached {cached}";
        }

        if (candidate["prefill_tokens"] is { } prefill)
        {
            yield return $"prefill {prefill}";
            yield return $"sequences {candidate["sequences"]}";
        }
    }

    private static string Call(JsonNode call)
    {
        var engine = call["to"] is { } to ? $"{call["engine"]} -> {to}" : $"{call["engine"]}";
        var window = call["begin"] is null ? "" : $" [{call["begin"]}, {call["end"]})";
        (string Key, string Words)[] known =
        [
            ("matched_tokens", "matched {0}"), ("sent_tokens", "sent {0}"), ("cached_tokens", "cached {0}"), ("computed_tokens", "computed {0}"),
            ("bytes", "{0} bytes"), ("transport", "over {0}"), ("output_tokens", "output {0}"),
        ];
        var parts = known.Where(part => call[part.Key] is not null).Select(part => string.Format(CultureInfo.InvariantCulture, part.Words, call[part.Key])).ToList();
        var end = $"{call["outcome"]}{(call["error"] is { } error ? $": {error}" : "")}";
        return $"{engine}  {call["call"]}({call["arguments"]}){window}  took {Ms(call["duration_ms"])}  {(parts.Count > 0 ? string.Join(", ", parts) + "  " : "")}{end}";
    }

    private static IEnumerable<JsonNode> Items(JsonNode? node) => (node as JsonArray)?.OfType<JsonNode>() ?? [];

    private static double Number(JsonNode? node) => node is JsonValue value && value.TryGetValue<double>(out var number) ? number : 0;

    private static string Ms(JsonNode? node) => node is null ? "-" : Ms(Number(node));

    private static string Ms(double ms) => ms.ToString(ms < 10 ? "0.00" : "0.0", CultureInfo.InvariantCulture) + " ms";

    private static string Size(JsonNode? node) => Number(node) is >= 1 << 20 and var bytes
        ? string.Create(CultureInfo.InvariantCulture, $"{bytes / (1 << 20):0.0} MiB")
        : string.Create(CultureInfo.InvariantCulture, $"{Number(node) / 1024:0.0} KiB");
}

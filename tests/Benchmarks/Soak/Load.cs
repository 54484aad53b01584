using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;

namespace ScriptedServe.Soak;

/// <summary>Callers that each ask for one thing after the other, by every shipped pattern, read the stream, and sometimes go away in the middle of it.</summary>
internal sealed class Load(HttpClient client, IReadOnlyList<KnownRequest> requests)
{
    private static readonly string[] s_routers = ["data_parallel", "pd_disagg", "balanced_pd", "context_migration"];

    private readonly ConcurrentQueue<string> _errors = new();
    private readonly Lock _gate = new();
    private int _whole;
    private int _left;
    private int _refused;

    public IEnumerable<string> Errors => _errors;

    public int Whole => _whole;

    /// <summary>Streams that their caller left.</summary>
    public int Left => _left;

    /// <summary>Answered with 429 or 503: the bound on waiting was reached, and told.</summary>
    public int Refused => _refused;

    /// <summary>Streams with other text than the request has alone, cut off, or answered by an error that is no refusal.</summary>
    public int Wrong => _errors.Count;

    /// <summary>Seconds from the request to the first token, and to the last, at most.</summary>
    public double LongestFirst { get; private set; }

    public double LongestWhole { get; private set; }

    public async Task RunAsync(Random random, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            var known = requests[random.Next(requests.Count)];
            var router = s_routers[random.Next(s_routers.Length)];
            int leaveAfter = random.Next(4) == 0 ? random.Next(0, 30) : int.MaxValue;
            try
            {
                await AskAsync(known, router, leaveAfter);
            }
            catch (Exception e) when (e is HttpRequestException or IOException or InvalidOperationException)
            {
                _errors.Enqueue($"{router}: {e.GetType().Name}: {e.Message}");
            }
        }
    }

    private async Task AskAsync(KnownRequest known, string router, int leaveAfter)
    {
        long begun = TimeProvider.System.GetTimestamp();
        var body = known.Body.DeepClone().AsObject();
        body["stream"] = true;
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = JsonContent.Create(body) };
        request.Headers.Add("X-Router", router);
        using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        if (response.StatusCode is HttpStatusCode.TooManyRequests or HttpStatusCode.ServiceUnavailable)
        {
            Interlocked.Increment(ref _refused);
            return;
        }

        if (!response.IsSuccessStatusCode)
        {
            throw new InvalidOperationException($"{(int)response.StatusCode} {await response.Content.ReadAsStringAsync()}");
        }

        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
        var text = new StringBuilder();
        for (int chunks = 0; ; chunks++)
        {
            if (chunks == leaveAfter)
            {
                Interlocked.Increment(ref _left);
                return;
            }

            string? line = await ReadEventAsync(reader);
            if (line is null)
            {
                throw new InvalidOperationException($"the stream ends after {chunks} events without [DONE]");
            }

            if (line == "[DONE]")
            {
                break;
            }

            var parsed = JsonNode.Parse(line)!;
            if (parsed["error"] is { } error)
            {
                throw new InvalidOperationException($"error within the stream: {error.ToJsonString()}");
            }

            text.Append((string?)parsed["choices"]?.AsArray().FirstOrDefault()?["text"]);
            Note(first: text.Length > 0 && chunks == 0, TimeProvider.System.GetElapsedTime(begun).TotalSeconds);
        }

        if (text.ToString() != known.Answer)
        {
            throw new InvalidOperationException($"other text than alone: '{text}' and not '{known.Answer}'");
        }

        Interlocked.Increment(ref _whole);
    }

    private void Note(bool first, double seconds)
    {
        lock (_gate)
        {
            LongestFirst = first ? Math.Max(LongestFirst, seconds) : LongestFirst;
            LongestWhole = Math.Max(LongestWhole, seconds);
        }
    }

    private static async Task<string?> ReadEventAsync(StreamReader reader)
    {
        while (await reader.ReadLineAsync() is { } line)
        {
            if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                return line[6..];
            }
        }

        return null;
    }
}

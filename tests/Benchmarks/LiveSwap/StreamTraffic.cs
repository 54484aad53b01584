using System.Collections.Concurrent;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;

namespace ScriptedServe.LiveSwapBenchmark;

/// <summary>Streams that each ask the same again and again, and know what must come.</summary>
/// <param name="tokens">Of each answer.</param>
internal sealed class StreamTraffic(HttpClient client, int streams, TimeProvider time, int tokens = 48)
{
    private readonly string[] _expected = new string[streams];
    private volatile bool _stopping;
    private Task[] _running = [];
    private int _finished;
    private int _failed;
    private string? _firstFailure;
    private ConcurrentBag<double> _taken = [];

    public int Finished => _finished;

    public int Failed => _failed;

    public string? FirstFailure => _firstFailure;

    /// <summary>How long the streams took that ended since the last call, in ms, ascending.</summary>
    public double[] TakeDurations() => [.. Interlocked.Exchange(ref _taken, []).Order()];

    /// <summary>Asks once for each stream's text, one after another.</summary>
    public async Task LearnAsync()
    {
        for (var i = 0; i < streams; i++)
        {
            _expected[i] = await AskAsync(i);
        }
    }

    public void Start() => _running = [.. Enumerable.Range(0, streams).Select(i => Task.Run(() => KeepAskingAsync(i)))];

    /// <summary>Lets every stream end.</summary>
    public Task StopAsync()
    {
        _stopping = true;
        return Task.WhenAll(_running);
    }

    private async Task KeepAskingAsync(int stream)
    {
        while (!_stopping)
        {
            string problem;
            var began = time.GetTimestamp();
            try
            {
                var text = await AskAsync(stream);
                problem = text == _expected[stream] ? "" : $"stream {stream} said {text} and not {_expected[stream]}";
            }
            catch (Exception e) when (e is HttpRequestException or IOException or InvalidOperationException)
            {
                problem = $"stream {stream}: {e.Message}";
            }

            _taken.Add(time.GetElapsedTime(began).TotalMilliseconds);
            Interlocked.Increment(ref _finished);
            if (problem.Length > 0)
            {
                Interlocked.Increment(ref _failed);
                Interlocked.CompareExchange(ref _firstFailure, problem, null);
            }
        }
    }

    private async Task<string> AskAsync(int stream)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions")
        {
            Content = JsonContent.Create(new { prompt = $"Story {stream}. Once upon a time", max_tokens = tokens, temperature = 1.0, seed = stream, stream = true, ignore_eos = true }),
        };
        using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        if (!response.IsSuccessStatusCode)
        {
            throw new InvalidOperationException($"{(int)response.StatusCode} {await response.Content.ReadAsStringAsync()}");
        }

        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(), Encoding.UTF8);
        var text = new StringBuilder();
        while (await reader.ReadLineAsync() is { } line)
        {
            if (line == "data: [DONE]")
            {
                return text.ToString();
            }

            if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                var data = JsonNode.Parse(line["data: ".Length..])!;
                if (data["error"] is { } error)
                {
                    throw new InvalidOperationException(error.ToJsonString());
                }

                text.Append((string?)data["choices"]![0]?["text"]);
            }
        }

        throw new InvalidOperationException("the stream ended without [DONE]");
    }
}

using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace ScriptedServe.Host.Commands;

/// <summary>A client command cannot go on. The message is for the person at the terminal.</summary>
internal sealed class CommandException(string message) : Exception(message);

/// <summary>Talks to a running host's admin API.</summary>
internal sealed class AdminClient : IDisposable
{
    private readonly HttpClient http;
    private readonly Uri url;

    /// <param name="handler">Null: the network.</param>
    /// <exception cref="CommandException">The URL is none.</exception>
    public AdminClient(string url, string? token, HttpMessageHandler? handler = null)
    {
        if (!Uri.TryCreate(url.TrimEnd('/') + "/", UriKind.Absolute, out var parsed) || parsed.Scheme is not ("http" or "https"))
        {
            throw new CommandException($"--url: '{url}' is no http(s) address.");
        }

        this.url = parsed;
        http = handler is null ? new HttpClient() : new HttpClient(handler, disposeHandler: false);
        http.BaseAddress = parsed;
        if (token is not null)
        {
            http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        }
    }

    /// <param name="path">Relative, its parts escaped.</param>
    /// <param name="body">JSON, or null for none.</param>
    /// <exception cref="CommandException">No host answers, or it refuses.</exception>
    public async Task<JsonNode?> SendAsync(HttpMethod method, string path, JsonNode? body, CancellationToken cancellationToken)
    {
        var (status, reply) = await TrySendAsync(method, path, body is null ? null : JsonContent.Create(body), cancellationToken);
        return (int)status < 400 ? reply : throw Refused((int)status, reply);
    }

    /// <summary>As <see cref="SendAsync"/>, with any status the host answers.</summary>
    public async Task<(System.Net.HttpStatusCode Status, JsonNode? Reply)> TrySendAsync(HttpMethod method, string path, HttpContent? body, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(method, path) { Content = body };
        try
        {
            using var response = await http.SendAsync(request, cancellationToken);
            var text = await response.Content.ReadAsStringAsync(cancellationToken);
            return (response.StatusCode, Parse(text));
        }
        catch (HttpRequestException e)
        {
            throw new CommandException($"No host answers at {url} ({e.Message}). Start one with 'serve', or name it with --url.");
        }
    }

    public void Dispose() => http.Dispose();

    public static CommandException Refused(int status, JsonNode? reply)
    {
        var message = reply is JsonObject ? Text(reply["error"] is JsonObject error ? error["message"] : reply["error"] ?? reply["message"]) : null;
        return new CommandException(status == 401
            ? $"The host refuses: {message} Give it with --admin-token."
            : $"The host refuses ({status}): {message ?? reply?.ToJsonString() ?? "no reason given"}");
    }

    private static string? Text(JsonNode? node) => node is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;

    private static JsonNode? Parse(string text)
    {
        try
        {
            return text.Length == 0 ? null : JsonNode.Parse(text);
        }
        catch (JsonException)
        {
            return JsonValue.Create(text);
        }
    }
}

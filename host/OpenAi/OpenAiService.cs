using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using ScriptedServe.Contracts.Wire.Server;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.OpenAi;

/// <summary>
/// Answers the API's calls. A generation goes: (1) read and check the body; (2) make prompts; (3) start a running request for each
/// choice; (4) turn their chunks into text; (5) write them, streamed or whole. Whatever happens, each running request is disposed.
/// </summary>
internal sealed class OpenAiService(
    ModelFacts model,
    OpenAiOptions options,
    ITokenizer tokenizer,
    IRequestRunner runner,
    IChatTemplate? template,
    TimeProvider time,
    RandomBits random,
    ILogger<OpenAiService> logger)
{
    private const int FlushBytes = 16 << 10;

    /// <summary>Headers that scripts do not get to see.</summary>
    private static readonly HashSet<string> s_credentials = new(StringComparer.OrdinalIgnoreCase) { "Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key", "Api-Key" };

    private readonly long _startedAt = time.GetUtcNow().ToUnixTimeSeconds();
    private readonly string _fingerprint = "fp_" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{model.Id}/{model.ContextLength}/{model.VocabSize}")))[..10];

    public async Task CompleteAsync(HttpContext context, string requestId)
    {
        var request = await ReadAsync(context, new CompletionFields(model, options, tokenizer).Read);
        var echoes = request.Prompts.SelectMany(prompt => Enumerable.Repeat(prompt.Echo, request.Choices)).ToArray();
        await RespondAsync(context, requestId, request, new CompletionFormat(NewHead("cmpl-"), tokenizer, request.Sampling.Logprobs is not null, request.IncludeUsage, echoes));
    }

    public async Task ChatAsync(HttpContext context, string requestId)
    {
        var request = await ReadAsync(context, new ChatFields(model, options, tokenizer, template).Read);
        await RespondAsync(context, requestId, request, new ChatFormat(NewHead("chatcmpl-"), tokenizer, request.Sampling.Logprobs is not null, request.IncludeUsage, request.Choices));
    }

    public Task ListModelsAsync(HttpContext context) => WriteJsonAsync(context, json =>
    {
        json.WriteStartObject();
        json.WriteString("object"u8, "list"u8);
        json.WriteStartArray("data"u8);
        WriteModel(json);
        json.WriteEndArray();
        json.WriteEndObject();
    });

    public Task GetModelAsync(HttpContext context)
    {
        // Routing leaves %2F in ids such as org/name as it is.
        var asked = Uri.UnescapeDataString((string)context.Request.RouteValues["id"]!);
        return asked == model.Id ? WriteJsonAsync(context, WriteModel) : throw GenerationFields.NoSuchModel(asked, model);
    }

    public static async Task WriteJsonAsync(HttpContext context, Action<Utf8JsonWriter> write)
    {
        context.Response.ContentType = "application/json";
        using (var json = new Utf8JsonWriter(context.Response.BodyWriter, SseWriter.Json))
        {
            write(json);
        }

        await context.Response.BodyWriter.FlushAsync(context.RequestAborted);
    }

    // (1), (2)
    private async Task<GenerationRequest> ReadAsync(HttpContext context, Func<JsonElement, GenerationRequest> read)
    {
        using var body = await RequestBody.ReadAsync(context.Request, options.MaxBodyBytes, context.RequestAborted);
        return read(body.RootElement);
    }

    private async Task RespondAsync(HttpContext context, string requestId, GenerationRequest request, ResponseFormat format)
    {
        if (request.Prompts.Count * request.Choices > 1)
        {
            // A short body can ask for many choices.
            await PoolThread.Take();
        }

        using var deadline = new ResponseDeadline(context, time, options.RequestTimeout);
        await using var choices = await StartAsync(context, requestId, request);
        if (request.Stream)
        {
            await StreamAsync(context, requestId, request, choices, format);
            return;
        }

        var texts = Enumerable.Range(0, request.Prompts.Count * request.Choices).Select(_ => new ChoiceText()).ToArray();
        await foreach (var piece in choices.Pieces(context.RequestAborted))
        {
            texts[piece.Choice].Add(piece);
        }

        await WriteJsonAsync(context, json => format.WriteResponse(json, texts, Count(request, choices)));
    }

    // (3)
    private async Task<ChoiceSet> StartAsync(HttpContext context, string requestId, GenerationRequest request)
    {
        var headers = context.Request.Headers
            .Where(header => !s_credentials.Contains(header.Key))
            .ToDictionary(header => header.Key, header => header.Value.ToString(), StringComparer.OrdinalIgnoreCase);
        var router = context.Request.Headers["X-Router"].ToString() is { Length: > 0 } asked ? asked : null;
        var choices = new List<Choice>();
        var set = new ChoiceSet(choices);
        try
        {
            foreach (var prompt in request.Prompts)
            {
                var seed = request.Seed ?? random();
                var maxTokens = Math.Min(request.Sampling.MaxTokens, model.ContextLength - prompt.Tokens.Length);
                for (var i = 0; i < request.Choices; i++)
                {
                    var sampling = request.Sampling with
                    {
                        Seed = SeedOf(seed, i),
                        MaxTokens = maxTokens,
                        MinTokens = Math.Min(request.Sampling.MinTokens, maxTokens),
                    };
                    var id = choices.Count == 0 ? requestId : $"{requestId}-{choices.Count}";
                    var running = runner.Start(new(id, prompt.Tokens, sampling, headers, router, Deadline: null));

                    // A router swapped in meanwhile gets the next request, not the rest of this one.
                    router = running.Router;
                    choices.Add(new(choices.Count, running, tokenizer, request.Stops, sampling.Logprobs is not null));
                    context.Response.Headers["X-Router"] = running.Router;
                }
            }

            return set;
        }
        catch
        {
            await set.DisposeAsync();
            throw;
        }
    }

    // (4), (5)
    private async Task StreamAsync(HttpContext context, string requestId, GenerationRequest request, ChoiceSet choices, ResponseFormat format)
    {
        using var sse = new SseWriter(context.Response.BodyWriter);
        var hasBegun = false;
        try
        {
            await StreamPump.PumpAsync(choices.Pieces, piece =>
            {
                if (!hasBegun)
                {
                    // Only now: a request that fails before its first token gets a plain error response.
                    hasBegun = true;
                    context.Response.ContentType = "text/event-stream; charset=utf-8";
                    context.Response.Headers.CacheControl = "no-cache";
                    context.Response.Headers["X-Accel-Buffering"] = "no";
                }

                format.WritePiece(sse, piece);
                return sse.UnflushedBytes >= FlushBytes;
            }, sse.FlushAsync, context.RequestAborted);
        }
        catch (Exception e) when (hasBegun && !context.RequestAborted.IsCancellationRequested)
        {
            Describe(e, requestId).WriteTo(sse.BeginEvent());
            sse.EndEvent();
            await sse.FlushAsync(context.RequestAborted);
            return;
        }

        if (request.IncludeUsage)
        {
            format.WriteUsageEvent(sse, Count(request, choices));
        }

        sse.Done();
        await sse.FlushAsync(context.RequestAborted);
    }

    /// <summary>How a failure is told to the client; what is the server's fault goes to the log.</summary>
    public OpenAiException Describe(Exception e, string requestId)
    {
        if (OpenAiException.From(e) is not { } known)
        {
            OpenAiLog.UnexpectedException(logger, requestId, e);
            return OpenAiException.Unexpected(requestId, e);
        }

        if (known.Status >= 500)
        {
            OpenAiLog.ServerError(logger, requestId, known.Status, known.Code, known.Message);
        }

        return known;
    }

    public string NewId(string prefix) => $"{prefix}{random():x16}{random():x16}"[..(prefix.Length + 24)];

    /// <summary>The first choice has the request's own seed, so that it is the same whatever n is; the others' follow from it (splitmix64).</summary>
    internal static ulong SeedOf(ulong seed, int choice)
    {
        if (choice == 0)
        {
            return seed;
        }

        var mixed = seed + ((ulong)choice * 0x9e3779b97f4a7c15);
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
        return mixed ^ (mixed >> 31);
    }

    private ResponseHead NewHead(string prefix) => new(NewId(prefix), time.GetUtcNow().ToUnixTimeSeconds(), model.Id, _fingerprint);

    private static UsageCounts Count(GenerationRequest request, ChoiceSet choices) =>
        new(request.Prompts.Sum(prompt => prompt.Tokens.Length), choices.CompletionTokens, choices.CachedTokens(request.Choices));

    private void WriteModel(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("id"u8, model.Id);
        json.WriteString("object"u8, "model"u8);
        json.WriteNumber("created"u8, _startedAt);
        json.WriteString("owned_by"u8, "scriptedserve"u8);
        json.WriteNumber("max_model_len"u8, model.ContextLength);
        json.WriteEndObject();
    }
}

using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using ScriptedServe.Host.Text.Jinja;

namespace ScriptedServe.Host.Text;

/// <summary>
/// A model's chat template: Jinja as Hugging Face's apply_chat_template renders it, parsed once. Rendering is bounded in work, output
/// and depth, since a template is data of the model's folder.
/// </summary>
public sealed class ChatTemplate : IChatTemplate
{
    private const string ToolUse = "tool_use";

    private readonly string source;
    private readonly JinjaDict specialTokens;
    private readonly Sequence template;
    private readonly Sequence? toolTemplate;
    private readonly TimeProvider time;

    private ChatTemplate(string source, IReadOnlyDictionary<string, string> templates, JinjaDict specialTokens, TimeProvider time)
    {
        this.source = source;
        this.specialTokens = specialTokens;
        this.time = time;
        if (!templates.TryGetValue("default", out var text) && (templates.Count != 1 || !templates.TryGetValue(templates.Keys.First(), out text)))
        {
            throw new ChatTemplateException($"{source}: of several chat templates none is named \"default\"; there are: {string.Join(", ", templates.Keys)}.");
        }

        template = Parse(text);
        toolTemplate = templates.TryGetValue(ToolUse, out var forTools) ? Parse(forTools) : null;
    }

    /// <summary>
    /// Reads chat_template.jinja of the model's folder or, without one, the "chat_template" of tokenizer_config.json or chat_template.json:
    /// a string, or an array of named ones of which "default" is used and, for requests with tools, "tool_use".
    /// </summary>
    /// <param name="time">What strftime_now tells the time by.</param>
    /// <returns>Null if the folder has no chat template; see <see cref="Missing"/>.</returns>
    /// <exception cref="ChatTemplateException">A file cannot be read, or the template does not parse.</exception>
    public static ChatTemplate? Load(string modelFolder, TimeProvider time)
    {
        var config = ReadObject(Path.Combine(modelFolder, "tokenizer_config.json"));
        var tokens = SpecialTokens(ReadObject(Path.Combine(modelFolder, "special_tokens_map.json")), config);
        var file = Path.Combine(modelFolder, "chat_template.jinja");
        if (File.Exists(file))
        {
            return new ChatTemplate(file, new Dictionary<string, string> { ["default"] = Encoding.UTF8.GetString(ReadFile(file)) }, tokens, time);
        }

        foreach (var name in new[] { "tokenizer_config.json", "chat_template.json" })
        {
            file = Path.Combine(modelFolder, name);
            if (ReadObject(file)?["chat_template"] is { } found)
            {
                return new ChatTemplate(file, Named(found, file), tokens, time);
            }
        }

        return null;
    }

    /// <summary>A template given as text.</summary>
    /// <param name="source">What to call it in errors.</param>
    /// <param name="specialTokens">bos_token, eos_token ... where the model has them.</param>
    /// <exception cref="ChatTemplateException">The template does not parse.</exception>
    public static ChatTemplate Parse(string template, TimeProvider time, JsonObject? specialTokens = null, string source = "chat template") =>
        new(source, new Dictionary<string, string> { ["default"] = template }, SpecialTokens(specialTokens), time);

    /// <summary>The error for a chat request to a model without a chat template.</summary>
    public static ChatTemplateException Missing(string modelFolder) => new(
        $"The model in {modelFolder} has no chat template, so it serves completions but no chat. Add chat_template.jinja to the folder, or \"chat_template\" to its tokenizer_config.json.");

    public string Render(JsonArray messages, JsonArray? tools = null, bool addGenerationPrompt = true, JsonObject? extra = null)
    {
        ArgumentNullException.ThrowIfNull(messages);
        return Render(messages, tools, addGenerationPrompt, extra, new RenderBudget(time));
    }

    internal string Render(JsonArray messages, JsonArray? tools, bool addGenerationPrompt, JsonObject? extra, RenderBudget budget)
    {
        try
        {
            var scope = new Scope(budget);
            foreach (var (name, token) in specialTokens.Entries)
            {
                scope.Set((string)name, token);
            }

            scope.Set("messages", JinjaJson.FromJson(messages));
            scope.Set("tools", JinjaJson.FromJson(tools));
            scope.Set("documents", null);
            scope.Set("add_generation_prompt", addGenerationPrompt);
            foreach (var (name, value) in extra ?? [])
            {
                scope.Set(name, JinjaJson.FromJson(value));
            }

            // The template's own variables stand above those it was given.
            return (tools is not null && toolTemplate is not null ? toolTemplate : template).RenderApart(scope.Open());
        }
        catch (JinjaException error)
        {
            throw Described(error);
        }
        catch (InsufficientExecutionStackException error)
        {
            throw new ChatTemplateException($"{source}: the template calls itself, or its values nest, too deep.", error);
        }
    }

    private Sequence Parse(string text)
    {
        try
        {
            return TemplateParser.Parse(text);
        }
        catch (JinjaException error)
        {
            throw Described(error);
        }
    }

    private ChatTemplateException Described(JinjaException error) =>
        new(error.Line is { } line ? $"{source}, line {line}: {error.Message}" : $"{source}: {error.Message}", error);

    private static Dictionary<string, string> Named(JsonNode found, string file)
    {
        var templates = new Dictionary<string, string>(StringComparer.Ordinal);
        if (AsText(found) is { } single)
        {
            templates["default"] = single;
            return templates;
        }

        foreach (var item in found as JsonArray ?? [])
        {
            var entry = item as JsonObject;
            templates[AsText(entry?["name"]) ?? throw Malformed(file)] = AsText(entry?["template"]) ?? throw Malformed(file);
        }

        return templates.Count > 0 ? templates : throw Malformed(file);
    }

    private static ChatTemplateException Malformed(string file) =>
        new($"{file}: \"chat_template\" must be a string, or an array of objects with the strings \"name\" and \"template\".");

    /// <summary>Fields such as bos_token, each a string or an object with the string as its content; later objects win.</summary>
    private static JinjaDict SpecialTokens(params JsonObject?[] configs)
    {
        var tokens = new JinjaDict();
        foreach (var (name, value) in configs.SelectMany(config => config ?? []))
        {
            if (name.EndsWith("_token", StringComparison.Ordinal) && (AsText(value) ?? AsText((value as JsonObject)?["content"])) is { } token)
            {
                tokens.Set(name, token);
            }
        }

        return tokens;
    }

    private static string? AsText(JsonNode? node) => node is JsonValue value && value.GetValueKind() == JsonValueKind.String ? value.GetValue<string>() : null;

    private static JsonObject? ReadObject(string file)
    {
        if (!File.Exists(file))
        {
            return null;
        }

        try
        {
            var config = JsonNode.Parse(ReadFile(file)) as JsonObject ?? throw new ChatTemplateException($"{file}: expected a JSON object.");
            _ = config.Count; // fields given twice show only now
            return config;
        }
        catch (Exception error) when (error is JsonException or ArgumentException or InvalidOperationException)
        {
            throw new ChatTemplateException($"{file}: not valid JSON: {error.Message}", error);
        }
    }

    private static byte[] ReadFile(string file)
    {
        try
        {
            return File.ReadAllBytes(file);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ChatTemplateException($"{file}: cannot be read: {error.Message}", error);
        }
    }
}

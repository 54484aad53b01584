using System.Text.Json;
using System.Text.Json.Nodes;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.OpenAi;

/// <summary>Reads a body of <c>/v1/chat/completions</c>.</summary>
internal sealed class ChatFields(ModelFacts model, OpenAiOptions options, ITokenizer tokenizer, IChatTemplate? template)
{
    private static readonly string[] s_roles = ["system", "developer", "user", "assistant", "tool"];

    public GenerationRequest Read(JsonElement body)
    {
        var fields = new JsonFields(body);
        GenerationFields.CheckModel(fields, model);
        if (template is null)
        {
            throw new OpenAiException(400, $"The model '{model.Id}' has no chat template; use /v1/completions.", "messages", "no_chat_template");
        }

        var (stream, includeUsage) = GenerationFields.ReadStream(fields);
        // Both names are in use; the newer one wins.
        var maxTokensField = fields.Any("max_completion_tokens") is null ? "max_tokens" : "max_completion_tokens";
        var sampling = GenerationFields.ReadSampling(fields, model, ReadLogprobs(fields), model.ContextLength, maxTokensField);
        var stops = GenerationFields.ReadStops(fields);
        var seed = fields.Seed("seed");
        fields.String("user");
        CheckResponseFormat(fields);
        var choices = GenerationFields.ReadChoices(fields, options, prompts: 1);

        var text = template.Render(
            ReadMessages(fields),
            ReadTools(fields),
            fields.Boolean("add_generation_prompt") ?? true,
            fields.Object("chat_template_kwargs") is { } extra ? JsonObject.Create(extra) : null);
        var tokens = tokenizer.Encode(text, addSpecialTokens: false);
        if (tokens.Length == 0)
        {
            throw OpenAiException.Invalid("messages", "The model's chat template makes no tokens of 'messages'.", "empty_prompt");
        }

        GenerationFields.CheckLength(tokens.Length, model, "messages");
        return new([new(tokens, "")], sampling, seed, choices, stops, stream, includeUsage);
    }

    private static int? ReadLogprobs(JsonFields fields)
    {
        var wanted = fields.Boolean("logprobs") ?? false;
        var top = fields.Integer("top_logprobs", 0, GenerationFields.MostLogprobs);
        if (top > 0 && !wanted)
        {
            throw OpenAiException.Invalid("top_logprobs", "'top_logprobs' may only be set when 'logprobs' is true.", "invalid_value");
        }

        return wanted ? top ?? 0 : null;
    }

    private static void CheckResponseFormat(JsonFields fields)
    {
        if (fields.Object("response_format") is not { } format)
        {
            return;
        }

        var type = new JsonFields(format, "response_format.").String("type");
        if (type != "text")
        {
            throw OpenAiException.Invalid("response_format", $"'response_format.type' must be \"text\", got {(type is null ? "nothing" : $"\"{type}\"")}: constrained output is not supported.", "unsupported_parameter");
        }
    }

    /// <summary>Null where the request has none or wants none used.</summary>
    private static JsonArray? ReadTools(JsonFields fields)
    {
        var tools = fields.Array("tools");
        var choice = fields.Any("tool_choice");
        if (choice is { } value && !(value.ValueKind == JsonValueKind.String && value.GetString() is "auto" or "none"))
        {
            throw OpenAiException.Invalid("tool_choice", $"'tool_choice' must be \"auto\" or \"none\", got {JsonFields.Show(value)}: a tool call cannot be forced.", "unsupported_parameter");
        }

        if (tools is not { } given || given.GetArrayLength() == 0 || choice?.GetString() == "none")
        {
            return null;
        }

        foreach (var tool in given.EnumerateArray())
        {
            if (tool.ValueKind != JsonValueKind.Object)
            {
                throw fields.Wrong("tools", "an array of objects", tool);
            }
        }

        return JsonArray.Create(given);
    }

    private static JsonArray ReadMessages(JsonFields fields)
    {
        var given = fields.Array("messages") ?? throw fields.Missing("messages", "an array of at least one message");
        if (given.GetArrayLength() == 0)
        {
            throw OpenAiException.Invalid("messages", "'messages' is empty; it must have at least one message.", "empty_prompt");
        }

        var messages = new JsonArray();
        foreach (var one in given.EnumerateArray())
        {
            var name = $"messages[{messages.Count}]";
            messages.Add(one.ValueKind == JsonValueKind.Object
                ? ReadMessage(one, name)
                : throw OpenAiException.Invalid(name, $"'{name}' must be an object with a role and content, got {JsonFields.Show(one)}.", "invalid_value"));
        }

        return messages;
    }

    /// <summary>The message as it came, with the role in the template's words and the content as one string.</summary>
    private static JsonObject ReadMessage(JsonElement given, string name)
    {
        var fields = new JsonFields(given, name + ".");
        var role = fields.String("role") ?? throw fields.Missing("role", string.Join(", ", s_roles));
        if (!s_roles.Contains(role))
        {
            throw fields.Wrong("role", "one of " + string.Join(", ", s_roles), given.GetProperty("role"));
        }

        var message = JsonObject.Create(given)!;
        // Templates know the older name of the same role.
        message["role"] = role == "developer" ? "system" : role;
        if (fields.Any("content") is { } content)
        {
            message["content"] = ReadContent(content, fields);
        }
        else if (role != "assistant" || fields.Any("tool_calls") is null)
        {
            throw fields.Missing("content", "a string or an array of text parts");
        }

        return message;
    }

    private static string ReadContent(JsonElement content, JsonFields message)
    {
        if (content.ValueKind == JsonValueKind.String)
        {
            return content.GetString()!;
        }

        if (content.ValueKind != JsonValueKind.Array)
        {
            throw message.Wrong("content", "a string or an array of text parts", content);
        }

        var texts = new List<string>();
        foreach (var part in content.EnumerateArray())
        {
            var name = message.Name($"content[{texts.Count}]");
            if (part.ValueKind != JsonValueKind.Object)
            {
                throw OpenAiException.Invalid(name, $"'{name}' must be an object with type \"text\", got {JsonFields.Show(part)}.", "invalid_value");
            }

            var fields = new JsonFields(part, name + ".");
            var type = fields.String("type") ?? throw fields.Missing("type", "\"text\"");
            texts.Add(type == "text"
                ? fields.String("text") ?? throw fields.Missing("text", "a string")
                : throw OpenAiException.Invalid(name + ".type", $"'{name}.type' must be \"text\", got \"{type}\": the model takes text only.", "unsupported_parameter"));
        }

        return string.Join('\n', texts);
    }
}

using System.Text.Json.Nodes;

namespace ScriptedServe.Host.Text;

/// <summary>A model's chat template. Thread-safe.</summary>
public interface IChatTemplate
{
    /// <summary>The conversation as the model was trained to see it; encode it without adding special tokens.</summary>
    /// <param name="messages">Array of objects with role and content (and what else the client sent, tool calls say).</param>
    /// <param name="tools">The request's tools, or null.</param>
    /// <param name="extra">Further variables of the template (chat_template_kwargs), or null.</param>
    /// <exception cref="ChatTemplateException">The template refuses the conversation, or uses what is not supported.</exception>
    string Render(JsonArray messages, JsonArray? tools = null, bool addGenerationPrompt = true, JsonObject? extra = null);
}

/// <summary>A template could not be compiled or rendered. The message names the template's line.</summary>
public sealed class ChatTemplateException(string message, Exception? inner = null) : Exception(message, inner);

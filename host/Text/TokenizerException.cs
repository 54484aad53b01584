namespace ScriptedServe.Host.Text;

/// <summary>A tokenizer.json is missing, damaged or asks for what is not supported. The message names the file, the place in it, what was found and what is supported.</summary>
public sealed class TokenizerException(string message, Exception? inner = null) : Exception(message, inner);

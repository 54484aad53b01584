namespace ScriptedServe.Host.Commands;

/// <summary>Colours, where a person looks at them: not in a pipe, not where NO_COLOR (https://no-color.org) or a dumb terminal say no.</summary>
/// <param name="hasColours">False: texts stay as they are.</param>
internal sealed class Terminal(bool hasColours)
{
    /// <param name="environment">Variables by name.</param>
    /// <param name="isRedirected">Whether what is printed goes elsewhere.</param>
    public static Terminal Of(Func<string, string?> environment, bool isRedirected) =>
        new(!isRedirected && string.IsNullOrEmpty(environment("NO_COLOR")) && environment("TERM") is not (null or "dumb"));

    public string Red(string text) => Coloured("1;31", text);

    public string Yellow(string text) => Coloured("33", text);

    public string Green(string text) => Coloured("32", text);

    public string Bold(string text) => Coloured("1", text);

    private string Coloured(string code, string text) => hasColours ? $"\u001b[{code}m{text}\u001b[0m" : text;
}

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>A place in a list of tokens.</summary>
internal sealed class TokenReader(List<JinjaToken> tokens)
{
    private int at;

    public JinjaToken Current => tokens[at];

    /// <summary>The token after the current one; the end stays the end.</summary>
    public JinjaToken Following => tokens[Math.Min(at + 1, tokens.Count - 1)];

    public int Position => at;

    /// <summary>The names between a position and the current token.</summary>
    public IReadOnlySet<string> NamesSince(int position) =>
        tokens[position..at].Where(token => token.Kind == JinjaTokenKind.Name).Select(token => token.Text).ToHashSet(StringComparer.Ordinal);

    public JinjaToken Take()
    {
        var token = tokens[at];
        at += at + 1 < tokens.Count ? 1 : 0;
        return token;
    }

    public bool TryTake(string symbol)
    {
        var found = Current.Is(symbol);
        _ = found && Take() is var _;
        return found;
    }

    public bool TryTakeName(string name)
    {
        var found = Current.IsName(name);
        _ = found && Take() is var _;
        return found;
    }

    public void Expect(string symbol)
    {
        if (!TryTake(symbol))
        {
            throw Unexpected($"'{symbol}'");
        }
    }

    public JinjaToken Expect(JinjaTokenKind kind, string what) => Current.Kind == kind ? Take() : throw Unexpected(what);

    public string ExpectName(string what = "a name") => Expect(JinjaTokenKind.Name, what).Text;

    public JinjaException Unexpected(string expected) => new($"expected {expected}, found {Current}", Current.Line);
}

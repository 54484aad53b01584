namespace ScriptedServe.Host.Text.Jinja;

/// <summary>What cycler() makes: its values one after the other, again and again.</summary>
internal sealed class Cycler(IReadOnlyList<object?> values)
{
    private int at;

    public object? Attribute(string name) => name switch
    {
        "current" => Current(),
        "next" => new JinjaFunction(_ =>
        {
            var current = Current();
            at = (at + 1) % values.Count;
            return current;
        }),
        "reset" => new JinjaFunction(_ =>
        {
            at = 0;
            return null;
        }),
        _ => new Undefined($"'{name}' of cycler"),
    };

    private object? Current() => values.Count > 0 ? values[at] : throw new JinjaException("cycler needs something to cycle through");
}

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>Variables visible at a place of the template. Loops, macros and with-blocks open a scope; assignments go to the innermost.</summary>
internal sealed class Scope(RenderBudget budget, Scope? parent = null)
{
    private readonly Dictionary<string, object?> variables = new(StringComparer.Ordinal);

    public RenderBudget Budget => budget;

    public Scope Open() => new(budget, this);

    public void Set(string name, object? value) => variables[name] = value;

    public object? Get(string name)
    {
        for (var scope = this; scope is not null; scope = scope.Parent)
        {
            if (scope.variables.TryGetValue(name, out var value))
            {
                return value;
            }
        }

        return JinjaFunctions.Globals.TryGetValue(name, out var global) ? global : new Undefined($"'{name}'");
    }

    private Scope? Parent => parent;
}

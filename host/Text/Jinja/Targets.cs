namespace ScriptedServe.Host.Text.Jinja;

/// <summary>What can stand left of an assignment.</summary>
internal abstract class Target
{
    public abstract void Assign(Scope scope, object? value);
}

internal sealed class NameTarget(string name) : Target
{
    public override void Assign(Scope scope, object? value) => scope.Set(name, value);
}

internal sealed class TupleTarget(Target[] targets) : Target
{
    public override void Assign(Scope scope, object? value)
    {
        var items = JinjaOperators.Items(value);
        if (items.Count != targets.Length)
        {
            throw new JinjaException($"{targets.Length} names to assign to, but {items.Count} values");
        }

        for (var i = 0; i < targets.Length; i++)
        {
            targets[i].Assign(scope, items[i]);
        }
    }
}

/// <summary>A member of a namespace().</summary>
internal sealed class NamespaceTarget(string name, string member) : Target
{
    public override void Assign(Scope scope, object? value)
    {
        var container = scope.Get(name) as JinjaNamespace
            ?? throw new JinjaException($"'{name}.{member}' can be set only where {name} is a namespace(), and it is {JinjaText.TypeName(scope.Get(name))}");
        container.Attributes[member] = value;
    }
}

namespace ScriptedServe.Host.Text.Jinja;

/// <param name="Parameters">Each with its default, or null.</param>
/// <param name="Names">The names in the body: whether it looks at varargs and kwargs.</param>
internal sealed record MacroDefinition(string Name, (string Name, Expression? Default)[] Parameters, Sequence Body, IReadOnlySet<string> Names);

/// <summary>A macro with the variables of the place that defined it. Its value is the text it writes.</summary>
internal sealed class Macro(MacroDefinition definition, Scope closure) : ICallable
{
    public string Name => definition.Name;

    public object? Call(JinjaArguments arguments)
    {
        var scope = closure.Open();
        var parameters = definition.Parameters;
        if (arguments.Positional.Count > parameters.Length && !definition.Names.Contains("varargs"))
        {
            throw new JinjaException($"the macro '{Name}' takes {parameters.Length} arguments, not {arguments.Positional.Count}");
        }

        if (arguments.Named.Keys.FirstOrDefault(name => name != "caller" && !parameters.Any(parameter => parameter.Name == name)) is { } unknown && !definition.Names.Contains("kwargs"))
        {
            throw new JinjaException($"the macro '{Name}' takes no argument '{unknown}'");
        }

        for (var i = 0; i < parameters.Length; i++)
        {
            var (name, otherwise) = parameters[i];
            scope.Set(name, arguments.Has(i, name) ? arguments.Get(i, name)
                : otherwise is null ? new Undefined($"parameter '{name}'") : otherwise.Evaluate(scope));
        }

        // What no parameter took is there under the names Jinja gives it.
        scope.Set("varargs", new JinjaList([.. arguments.Positional.Skip(parameters.Length)], isTuple: true));
        var rest = new JinjaDict();
        foreach (var (name, value) in arguments.Named)
        {
            if (name == "caller")
            {
                scope.Set(name, value);
            }
            else if (!parameters.Any(parameter => parameter.Name == name))
            {
                rest.Set(name, value);
            }
        }

        scope.Set("kwargs", rest);
        return definition.Body.RenderApart(scope);
    }
}

/// <summary>The variable 'loop'.</summary>
internal sealed class LoopState(IReadOnlyList<object?> items, int depth, Func<JinjaArguments, object?>? recurse) : ICallable
{
    private object? lastChecked;
    private bool hasChecked;

    public int Index { get; set; }

    public object? Attribute(string name) => name switch
    {
        "index" => Index + 1L,
        "index0" => (long)Index,
        "revindex" => (long)items.Count - Index,
        "revindex0" => items.Count - Index - 1L,
        "first" => Index == 0,
        "last" => Index == items.Count - 1,
        "length" => (long)items.Count,
        "depth" => (long)depth,
        "depth0" => depth - 1L,
        "previtem" => Index > 0 ? items[Index - 1] : new Undefined("there is no previous item"),
        "nextitem" => Index + 1 < items.Count ? items[Index + 1] : new Undefined("there is no next item"),
        "cycle" => new JinjaFunction(arguments => arguments.Positional.Count > 0
            ? arguments.Positional[Index % arguments.Positional.Count]
            : throw new JinjaException("loop.cycle needs something to cycle through")),
        "changed" => new JinjaFunction(arguments => Changed(arguments)),
        _ => new Undefined($"'loop.{name}'"),
    };

    public object? Call(JinjaArguments arguments) => recurse?.Invoke(arguments)
        ?? throw new JinjaException("the loop cannot be called: it is not marked 'recursive'");

    private bool Changed(JinjaArguments arguments)
    {
        var current = new JinjaList(arguments.Positional, isTuple: true);
        var changed = !hasChecked || !JinjaOperators.AreEqual(lastChecked, current);
        (lastChecked, hasChecked) = (current, true);
        return changed;
    }
}

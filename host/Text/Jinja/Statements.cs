using System.Runtime.CompilerServices;
using System.Text;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>How the statements after a statement go on.</summary>
internal enum Flow
{
    Next,
    Break,
    Continue,
}

/// <summary>A node that writes text. Immutable.</summary>
internal abstract class Statement(int line)
{
    public Flow Render(Scope scope, StringBuilder output)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        try
        {
            scope.Budget.Step();
            return Run(scope, output);
        }
        catch (JinjaException error) when (error.Line is null)
        {
            error.Line = line;
            throw;
        }
    }

    protected abstract Flow Run(Scope scope, StringBuilder output);
}

internal sealed class Sequence(Statement[] statements)
{
    public Flow Render(Scope scope, StringBuilder output)
    {
        foreach (var statement in statements)
        {
            if (statement.Render(scope, output) is not Flow.Next and var flow)
            {
                return flow;
            }
        }

        return Flow.Next;
    }

    /// <summary>What the statements write, as a value.</summary>
    public string RenderApart(Scope scope)
    {
        var output = new StringBuilder();
        Render(scope, output);
        return output.ToString();
    }
}

internal sealed class TextOutput(int line, string text) : Statement(line)
{
    protected override Flow Run(Scope scope, StringBuilder output)
    {
        scope.Budget.Write(output, text);
        return Flow.Next;
    }
}

internal sealed class ValueOutput(int line, Expression value) : Statement(line)
{
    protected override Flow Run(Scope scope, StringBuilder output)
    {
        scope.Budget.Write(output, JinjaText.Str(value.Evaluate(scope)));
        return Flow.Next;
    }
}

internal sealed class If(int line, (Expression Condition, Sequence Body)[] branches, Sequence? otherwise) : Statement(line)
{
    protected override Flow Run(Scope scope, StringBuilder output)
    {
        foreach (var (condition, body) in branches)
        {
            if (JinjaOperators.IsTrue(condition.Evaluate(scope)))
            {
                return body.Render(scope, output);
            }
        }

        return otherwise?.Render(scope, output) ?? Flow.Next;
    }
}

/// <param name="isRecursive">The body may call loop(items), which writes the loop over them.</param>
internal sealed class For(int line, Target target, Expression items, Expression? condition, Sequence body, Sequence? otherwise, bool isRecursive) : Statement(line)
{
    protected override Flow Run(Scope scope, StringBuilder output) => Run(scope, output, items.Evaluate(scope), depth: 1);

    private Flow Run(Scope scope, StringBuilder output, object? given, int depth)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        var all = JinjaOperators.Items(given);
        if (condition is not null)
        {
            var inner = scope.Open();
            all = [.. all.Where(item =>
            {
                target.Assign(inner, item);
                return JinjaOperators.IsTrue(condition.Evaluate(inner));
            })];
        }

        var loop = new LoopState(all, depth, isRecursive ? arguments => Recurse(scope, arguments, depth) : null);
        for (loop.Index = 0; loop.Index < all.Count; loop.Index++)
        {
            var inner = scope.Open();
            inner.Set("loop", loop);
            target.Assign(inner, all[loop.Index]);
            if (body.Render(inner, output) == Flow.Break)
            {
                break;
            }
        }

        return all.Count == 0 ? otherwise?.Render(scope.Open(), output) ?? Flow.Next : Flow.Next;
    }

    private string Recurse(Scope scope, JinjaArguments arguments, int depth)
    {
        var output = new StringBuilder();
        Run(scope, output, arguments.Require(0, "iterable"), depth + 1);
        return output.ToString();
    }
}

internal sealed class Set(int line, Target target, Expression value) : Statement(line)
{
    protected override Flow Run(Scope scope, StringBuilder output)
    {
        target.Assign(scope, value.Evaluate(scope));
        return Flow.Next;
    }
}

/// <summary>{% set name %}...{% endset %}, through filters if there are any.</summary>
internal sealed class SetBlock(int line, Target target, Sequence body, Filter[] filters) : Statement(line)
{
    protected override Flow Run(Scope scope, StringBuilder output)
    {
        var text = body.RenderApart(scope.Open());
        target.Assign(scope, filters.Aggregate((object?)text, (input, filter) => filter.Apply(input, scope)));
        return Flow.Next;
    }
}

/// <summary>{% filter name %}...{% endfilter %}</summary>
internal sealed class FilterBlock(int line, Sequence body, Filter[] filters) : Statement(line)
{
    protected override Flow Run(Scope scope, StringBuilder output)
    {
        var text = body.RenderApart(scope.Open());
        scope.Budget.Write(output, JinjaText.Str(filters.Aggregate((object?)text, (input, filter) => filter.Apply(input, scope))));
        return Flow.Next;
    }
}

internal sealed class With(int line, (Target Target, Expression Value)[] assignments, Sequence body) : Statement(line)
{
    protected override Flow Run(Scope scope, StringBuilder output)
    {
        var inner = scope.Open();
        foreach (var (target, value) in assignments)
        {
            target.Assign(inner, value.Evaluate(scope));
        }

        return body.Render(inner, output);
    }
}

/// <summary>{% generation %}: marks what an assistant wrote, for training; here only its body counts.</summary>
internal sealed class Generation(int line, Sequence body) : Statement(line)
{
    protected override Flow Run(Scope scope, StringBuilder output) => body.Render(scope.Open(), output);
}

internal sealed class LoopControl(int line, Flow flow) : Statement(line)
{
    protected override Flow Run(Scope scope, StringBuilder output) => flow;
}

internal sealed class DefineMacro(int line, MacroDefinition definition) : Statement(line)
{
    protected override Flow Run(Scope scope, StringBuilder output)
    {
        scope.Set(definition.Name, new Macro(definition, scope));
        return Flow.Next;
    }
}

/// <summary>{% call(parameters) macro(arguments) %}...{% endcall %}</summary>
internal sealed class CallBlock(int line, Expression target, ArgumentList arguments, MacroDefinition caller) : Statement(line)
{
    protected override Flow Run(Scope scope, StringBuilder output)
    {
        var called = target.Evaluate(scope);
        var evaluated = arguments.Evaluate("call", scope);
        var named = new Dictionary<string, object?>(evaluated.Named) { ["caller"] = new Macro(caller, scope) };
        var text = called is ICallable callable
            ? callable.Call(new JinjaArguments("call", scope.Budget, evaluated.Positional, named))
            : throw new JinjaException($"{JinjaText.TypeName(called)} cannot be called");
        scope.Budget.Write(output, JinjaText.Str(text));
        return Flow.Next;
    }
}

using System.Runtime.CompilerServices;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>A node that has a value. Immutable, so one template serves many renderings.</summary>
internal abstract class Expression
{
    public object? Evaluate(Scope scope)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        scope.Budget.Step();
        return Compute(scope);
    }

    protected abstract object? Compute(Scope scope);
}

internal sealed class Constant(object? value) : Expression
{
    protected override object? Compute(Scope scope) => value;
}

internal sealed class Variable(string name) : Expression
{
    public string Name => name;

    protected override object? Compute(Scope scope) => scope.Get(name);
}

internal sealed class ListLiteral(Expression[] items, bool isTuple) : Expression
{
    protected override object? Compute(Scope scope) => new JinjaList([.. items.Select(item => item.Evaluate(scope))], isTuple);
}

internal sealed class DictLiteral((Expression Key, Expression Value)[] entries) : Expression
{
    protected override object? Compute(Scope scope)
    {
        var dict = new JinjaDict();
        foreach (var (key, value) in entries)
        {
            dict.Set(key.Evaluate(scope), value.Evaluate(scope));
        }

        return dict;
    }
}

/// <summary>value.name</summary>
internal sealed class Member(Expression target, string name) : Expression
{
    public string Name => name;

    protected override object? Compute(Scope scope) => JinjaMembers.Attribute(target.Evaluate(scope), name);
}

/// <summary>value[key]</summary>
internal sealed class Subscript(Expression target, Expression key) : Expression
{
    protected override object? Compute(Scope scope) => JinjaMembers.Item(target.Evaluate(scope), key.Evaluate(scope));
}

/// <summary>value[start:stop:step]</summary>
internal sealed class Slice(Expression target, Expression? start, Expression? stop, Expression? step) : Expression
{
    protected override object? Compute(Scope scope)
    {
        var value = target.Evaluate(scope);
        var text = value as string;
        scope.Budget.Charge(text?.Length ?? 0);
        var items = value is string or JinjaList ? JinjaOperators.Items(value)
            : throw (value as Undefined)?.Error() ?? new JinjaException($"{JinjaText.TypeName(value)} cannot be sliced");
        var stride = Bound(step, scope) ?? 1;
        if (stride == 0)
        {
            throw new JinjaException("the step of a slice is zero");
        }

        var count = items.Count;
        var (lowest, highest) = stride > 0 ? (0L, (long)count) : (-1L, count - 1L);
        var first = Clip(Bound(start, scope), stride > 0 ? lowest : highest);
        var last = Clip(Bound(stop, scope), stride > 0 ? highest : lowest);
        var picked = new List<object?>();
        for (var i = first; stride > 0 ? i < last : i > last; i += stride)
        {
            picked.Add(items[(int)i]);
        }

        return text is null ? new JinjaList(picked, ((JinjaList)value!).IsTuple) : string.Concat(picked);

        long Clip(long? bound, long otherwise) =>
            bound is not { } given ? otherwise : Math.Clamp(given < 0 ? given + count : given, lowest, highest);
    }

    private static long? Bound(Expression? expression, Scope scope) => expression?.Evaluate(scope) switch
    {
        null => null,
        long number => Math.Clamp(number, -int.MaxValue, int.MaxValue),
        bool flag => flag ? 1 : 0,
        var other => throw new JinjaException($"a slice needs integers, not {JinjaText.TypeName(other)}"),
    };
}

/// <summary>The arguments of a call as written.</summary>
internal sealed record ArgumentList(Expression[] Positional, (string Name, Expression Value)[] Named, Expression? Spread, Expression? SpreadNamed)
{
    public static ArgumentList None { get; } = new([], [], null, null);

    public JinjaArguments Evaluate(string callee, Scope scope)
    {
        List<object?> positional = [.. Positional.Select(argument => argument.Evaluate(scope))];
        var named = new Dictionary<string, object?>(StringComparer.Ordinal);
        foreach (var (name, value) in Named)
        {
            named[name] = value.Evaluate(scope);
        }

        if (Spread is not null)
        {
            positional.AddRange(JinjaOperators.Items(Spread.Evaluate(scope)));
        }

        if (SpreadNamed?.Evaluate(scope) is { } names)
        {
            foreach (var (key, value) in (names as JinjaDict ?? throw new JinjaException($"** needs a dictionary, not {JinjaText.TypeName(names)}")).Entries)
            {
                named[JinjaText.Str(key)] = value;
            }
        }

        return new JinjaArguments(callee, scope.Budget, positional, named);
    }
}

internal sealed class Call(Expression target, ArgumentList arguments) : Expression
{
    private readonly string callee = target switch { Variable variable => variable.Name, Member member => member.Name, _ => "call" };

    protected override object? Compute(Scope scope) => target.Evaluate(scope) switch
    {
        ICallable callable => callable.Call(arguments.Evaluate(callee, scope)),
        Undefined undefined => throw undefined.Error(),
        var other => throw new JinjaException($"{JinjaText.TypeName(other)} cannot be called"),
    };
}

/// <summary>value | name(arguments)</summary>
internal sealed class Filter(Expression? value, string name, ArgumentList arguments) : Expression
{
    private readonly Func<object?, JinjaArguments, object?> body = JinjaFilters.Find(name);

    /// <summary>Applies the filter to a text that was made by a block.</summary>
    public object? Apply(object? input, Scope scope) => body(input, arguments.Evaluate(name, scope));

    protected override object? Compute(Scope scope) => Apply(value?.Evaluate(scope), scope);
}

/// <summary>value is name(arguments)</summary>
internal sealed class Test(Expression value, string name, ArgumentList arguments) : Expression
{
    private readonly Func<object?, JinjaArguments, bool> body = JinjaTests.Find(name);

    protected override object? Compute(Scope scope) => body(value.Evaluate(scope), arguments.Evaluate(name, scope));
}

internal sealed class Not(Expression value) : Expression
{
    protected override object? Compute(Scope scope) => !JinjaOperators.IsTrue(value.Evaluate(scope));
}

internal sealed class Sign(Expression value, bool negates) : Expression
{
    protected override object? Compute(Scope scope) => value.Evaluate(scope) is var operand && negates
        ? JinjaOperators.Negate(operand)
        : JinjaOperators.Negate(JinjaOperators.Negate(operand));
}

/// <summary>'and', 'or': the operand that decides is the value.</summary>
internal sealed class Logical(bool isAnd, Expression left, Expression right) : Expression
{
    protected override object? Compute(Scope scope)
    {
        var first = left.Evaluate(scope);
        return JinjaOperators.IsTrue(first) == isAnd ? right.Evaluate(scope) : first;
    }
}

internal sealed class Binary(string symbol, Expression left, Expression right) : Expression
{
    protected override object? Compute(Scope scope) =>
        JinjaOperators.Arithmetic(symbol, left.Evaluate(scope), right.Evaluate(scope), scope.Budget);
}

/// <summary>a ~ b ~ c: all as text.</summary>
internal sealed class Concatenation(Expression[] parts) : Expression
{
    protected override object? Compute(Scope scope)
    {
        var texts = Array.ConvertAll(parts, part => JinjaText.Str(part.Evaluate(scope)));
        scope.Budget.Charge(texts.Sum(text => (long)text.Length));
        return string.Concat(texts);
    }
}

/// <summary>a &lt; b &lt;= c: each operand is evaluated once, and the chain ends at the first comparison that fails.</summary>
internal sealed class Comparison(Expression first, (string Symbol, Expression Operand)[] rest) : Expression
{
    protected override object? Compute(Scope scope)
    {
        var left = first.Evaluate(scope);
        foreach (var (symbol, operand) in rest)
        {
            var right = operand.Evaluate(scope);
            scope.Budget.Charge((left as string)?.Length ?? 0);
            var holds = symbol switch
            {
                "==" => JinjaOperators.AreEqual(left, right),
                "!=" => !JinjaOperators.AreEqual(left, right),
                "in" => JinjaOperators.Contains(right, left, scope.Budget),
                "not in" => !JinjaOperators.Contains(right, left, scope.Budget),
                "<" => JinjaOperators.Compare(left, right) < 0,
                "<=" => JinjaOperators.Compare(left, right) <= 0,
                ">" => JinjaOperators.Compare(left, right) > 0,
                _ => JinjaOperators.Compare(left, right) >= 0,
            };
            if (!holds)
            {
                return false;
            }

            left = right;
        }

        return true;
    }
}

/// <summary>value if condition else otherwise</summary>
internal sealed class Conditional(Expression condition, Expression value, Expression? otherwise) : Expression
{
    protected override object? Compute(Scope scope) => JinjaOperators.IsTrue(condition.Evaluate(scope))
        ? value.Evaluate(scope)
        : otherwise is null ? new Undefined("the value of an 'if' without 'else'") : otherwise.Evaluate(scope);
}

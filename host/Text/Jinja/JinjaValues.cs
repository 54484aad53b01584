using System.Numerics;

namespace ScriptedServe.Host.Text.Jinja;

// A value is null (None), bool, long, BigInteger, double, string or one of the classes below. Lists and dictionaries never change
// once made, as in the immutable sandbox that Hugging Face renders templates in.

/// <summary>A name or member that is not there: empty text, false, no items; an error to do anything else with.</summary>
internal sealed record Undefined(string What)
{
    public JinjaException Error() => new($"{What} is undefined");
}

/// <param name="names">What the items of a tuple are called as its members, where they have names.</param>
internal sealed class JinjaList(IReadOnlyList<object?> items, bool isTuple = false, string[]? names = null)
{
    public IReadOnlyList<object?> Items => items;

    public bool IsTuple => isTuple;

    public bool TryGetNamed(string name, out object? item)
    {
        var index = names is null ? -1 : Array.IndexOf(names, name);
        item = index < 0 ? null : items[index];
        return index >= 0;
    }
}

internal sealed class JinjaDict
{
    private readonly OrderedDictionary<object, object?> entries = new(KeyComparer.Instance);

    public int Count => entries.Count;

    public IEnumerable<object> Keys => entries.Keys;

    public IEnumerable<object?> Values => entries.Values;

    public IEnumerable<KeyValuePair<object, object?>> Entries => entries;

    /// <summary>Only while the dictionary is being made.</summary>
    public void Set(object? key, object? value) => entries[Hashable(key)] = value;

    public bool TryGet(object? key, out object? value)
    {
        value = null;
        return key is string or long or bool or double or BigInteger && entries.TryGetValue(key, out value);
    }

    public bool Contains(object? key) => TryGet(key, out _);

    private static object Hashable(object? key) =>
        key is string or long or bool or double or BigInteger ? key : throw new JinjaException($"{JinjaText.TypeName(key)} cannot be a key of a dictionary");

    private sealed class KeyComparer : IEqualityComparer<object>
    {
        public static KeyComparer Instance { get; } = new();

        bool IEqualityComparer<object>.Equals(object? left, object? right) => JinjaOperators.AreEqual(left, right);

        public int GetHashCode(object key) => key is string text ? string.GetHashCode(text, StringComparison.Ordinal) : JinjaOperators.ToDouble(key).GetHashCode();
    }
}

/// <summary>What namespace() makes: the one thing a template can change, so that a loop can tell what follows it something.</summary>
internal sealed class JinjaNamespace
{
    public Dictionary<string, object?> Attributes { get; } = new(StringComparer.Ordinal);
}

/// <summary>Anything with call parentheses: a macro, a function, a method bound to its value.</summary>
internal interface ICallable
{
    object? Call(JinjaArguments arguments);
}

internal sealed class JinjaFunction(Func<JinjaArguments, object?> body) : ICallable
{
    public object? Call(JinjaArguments arguments) => body(arguments);
}

/// <summary>The arguments of a call, filter or test.</summary>
/// <param name="callee">For errors.</param>
internal sealed class JinjaArguments(string callee, RenderBudget budget, IReadOnlyList<object?> positional, IReadOnlyDictionary<string, object?> named)
{
    private static readonly Dictionary<string, object?> NoNames = [];

    public JinjaArguments(string callee, RenderBudget budget, params IReadOnlyList<object?> positional)
        : this(callee, budget, positional, NoNames)
    {
    }

    public string Callee => callee;

    public RenderBudget Budget => budget;

    public IReadOnlyList<object?> Positional => positional;

    public IReadOnlyDictionary<string, object?> Named => named;

    /// <summary>An argument by place or name.</summary>
    public object? Get(int index, string name, object? otherwise = null) =>
        index < positional.Count ? positional[index] : named.TryGetValue(name, out var value) ? value : otherwise;

    public object? Require(int index, string name) =>
        Has(index, name) ? Get(index, name) : throw new JinjaException($"{callee} needs an argument '{name}'");

    public bool Has(int index, string name) => index < positional.Count || named.ContainsKey(name);

    public string Text(int index, string name, string? otherwise = null) => Has(index, name)
        ? Get(index, name) as string ?? throw new JinjaException($"{callee}: '{name}' must be a string, not {JinjaText.TypeName(Get(index, name))}")
        : otherwise ?? throw new JinjaException($"{callee} needs an argument '{name}'");

    /// <summary>An integer small enough to count characters or items with.</summary>
    public int Count(int index, string name, int otherwise) => !Has(index, name) ? otherwise : Get(index, name) switch
    {
        long number => (int)Math.Clamp(number, int.MinValue + 1, int.MaxValue),
        bool flag => flag ? 1 : 0,
        var other => throw new JinjaException($"{callee}: '{name}' must be an integer, not {JinjaText.TypeName(other)}"),
    };

    public bool Flag(int index, string name, bool otherwise = false) => Has(index, name) ? JinjaOperators.IsTrue(Get(index, name)) : otherwise;

    /// <summary>The same call with its first arguments taken away.</summary>
    public JinjaArguments Skip(int count) => new(callee, budget, [.. positional.Skip(count)], named);
}

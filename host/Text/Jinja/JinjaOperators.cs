using System.Numerics;
using System.Runtime.CompilerServices;
using System.Text;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>Python's operators on template values.</summary>
internal static class JinjaOperators
{
    public static bool IsTrue(object? value) => value switch
    {
        null or Undefined => false,
        bool flag => flag,
        long number => number != 0,
        double number => number != 0,
        BigInteger number => !number.IsZero,
        string text => text.Length > 0,
        JinjaList list => list.Items.Count > 0,
        JinjaDict dict => dict.Count > 0,
        _ => true,
    };

    public static bool IsNumber(object? value) => value is bool or long or double or BigInteger;

    public static double ToDouble(object? value) => value switch
    {
        bool flag => flag ? 1 : 0,
        long number => number,
        BigInteger number => (double)number,
        double number => number,
        _ => throw new JinjaException($"expected a number, found {JinjaText.TypeName(value)}"),
    };

    public static bool AreEqual(object? left, object? right)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        return (left, right) switch
        {
            (null, null) or (Undefined, Undefined) => true,
            (string a, string b) => a == b,
            (JinjaList a, JinjaList b) => a.IsTuple == b.IsTuple && a.Items.Count == b.Items.Count && a.Items.Zip(b.Items).All(pair => AreEqual(pair.First, pair.Second)),
            (JinjaDict a, JinjaDict b) => a.Count == b.Count && a.Entries.All(entry => b.TryGet(entry.Key, out var other) && AreEqual(entry.Value, other)),
            _ when IsNumber(left) && IsNumber(right) => left is double || right is double ? ToDouble(left) == ToDouble(right) : ToInteger(left) == ToInteger(right),
            _ => ReferenceEquals(left, right),
        };
    }

    /// <summary>Less than zero, zero or more than zero, for values that have an order.</summary>
    public static int Compare(object? left, object? right)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        switch (left, right)
        {
            case (string a, string b):
                return CompareCodePoints(a, b);
            case (JinjaList a, JinjaList b) when a.IsTuple == b.IsTuple:
                var different = a.Items.Zip(b.Items).Select(pair => AreEqual(pair.First, pair.Second) ? 0 : Compare(pair.First, pair.Second)).FirstOrDefault(order => order != 0);
                return different != 0 ? different : a.Items.Count.CompareTo(b.Items.Count);
            case (Undefined undefined, _):
                throw undefined.Error();
            case (_, Undefined undefined):
                throw undefined.Error();
            default:
                return IsNumber(left) && IsNumber(right)
                    ? left is double || right is double ? ToDouble(left).CompareTo(ToDouble(right)) : ToInteger(left).CompareTo(ToInteger(right))
                    : throw new JinjaException($"{JinjaText.TypeName(left)} and {JinjaText.TypeName(right)} have no order");
        }
    }

    public static bool Contains(object? container, object? item, RenderBudget budget)
    {
        switch (container)
        {
            case string text:
                budget.Charge(text.Length);
                return item is string part ? text.Contains(part, StringComparison.Ordinal)
                    : throw new JinjaException($"'in' a string needs a string, not {JinjaText.TypeName(item)}");
            case JinjaDict dict:
                return dict.Contains(item);
            default:
                var items = Items(container);
                budget.Charge(items.Count * 16L);
                return items.Any(other => AreEqual(other, item));
        }
    }

    /// <summary>What iterating over a value gives: items, keys, or the characters of a string.</summary>
    public static IReadOnlyList<object?> Items(object? value) => value switch
    {
        JinjaList list => list.Items,
        JinjaDict dict => [.. dict.Keys],
        string text => [.. text.EnumerateRunes().Select(rune => rune.ToString())],
        Undefined => [],
        _ => throw new JinjaException($"{JinjaText.TypeName(value)} has no items to go through"),
    };

    public static object? Negate(object? value) => value switch
    {
        double number => -number,
        _ when IsNumber(value) => Shrink(-ToInteger(value)),
        _ => throw Unfit("-", value),
    };

    public static object? Arithmetic(string symbol, object? left, object? right, RenderBudget budget)
    {
        switch (left, right)
        {
            case (Undefined undefined, _):
                throw undefined.Error();
            case (_, Undefined undefined) when !(left is string && symbol == "%"):
                throw undefined.Error();
            case (string text, _) when symbol == "%":
                budget.Charge(text.Length);
                return PythonFormat.Percent(text, right, budget);
            case (string a, string b) when symbol == "+":
                budget.Charge((long)a.Length + b.Length);
                return a + b;
            case (JinjaList a, JinjaList b) when symbol == "+" && a.IsTuple == b.IsTuple:
                budget.Charge((a.Items.Count + b.Items.Count) * 16L);
                return new JinjaList([.. a.Items, .. b.Items], a.IsTuple);
            case (string or JinjaList, long or bool) when symbol == "*":
                return Repeat(left, (int)BigInteger.Clamp(ToInteger(right), 0, int.MaxValue), budget);
            case (long or bool, string or JinjaList) when symbol == "*":
                return Repeat(right, (int)BigInteger.Clamp(ToInteger(left), 0, int.MaxValue), budget);
            default:
                return IsNumber(left) && IsNumber(right) ? Calculate(symbol, left, right)
                    : throw new JinjaException($"'{symbol}' does not join {JinjaText.TypeName(left)} and {JinjaText.TypeName(right)}");
        }
    }

    /// <summary>An int as the narrower of the two types that hold one.</summary>
    public static object Shrink(BigInteger value) => value >= long.MinValue && value <= long.MaxValue ? (object)(long)value
        : value.GetBitLength() <= 4096 ? value : throw new JinjaException("an integer of more than 4096 bits");

    public static BigInteger ToInteger(object? value) => value switch
    {
        bool flag => flag ? 1 : 0,
        long number => number,
        BigInteger number => number,
        _ => throw new JinjaException($"expected an integer, found {JinjaText.TypeName(value)}"),
    };

    private static object? Calculate(string symbol, object? left, object? right)
    {
        if (symbol is "/" or "//" or "%" && ToDouble(right) == 0)
        {
            throw new JinjaException("division by zero");
        }

        if (left is double || right is double || symbol == "/" || (symbol == "**" && ToDouble(right) < 0))
        {
            var (a, b) = (ToDouble(left), ToDouble(right));
            return symbol switch
            {
                "+" => a + b,
                "-" => a - b,
                "*" => a * b,
                "/" => a / b,
                "//" => Math.Floor(a / b),
                "%" => a - (b * Math.Floor(a / b)),
                _ => Math.Pow(a, b),
            };
        }

        var (m, n) = (ToInteger(left), ToInteger(right));
        switch (symbol)
        {
            case "+":
                return Shrink(m + n);
            case "-":
                return Shrink(m - n);
            case "*":
                return Shrink(m * n);
            case "**":
                return n <= 4096 && n * m.GetBitLength() <= 4096 ? Shrink(BigInteger.Pow(m, (int)n)) : throw new JinjaException("a power of more than 4096 bits");
            default:
                // Python rounds quotients down, and remainders have the divisor's sign.
                var quotient = BigInteger.DivRem(m, n, out var remainder);
                var roundsUp = !remainder.IsZero && (remainder.Sign < 0) != (n.Sign < 0);
                return Shrink(symbol == "//" ? roundsUp ? quotient - 1 : quotient : roundsUp ? remainder + n : remainder);
        }
    }

    private static object Repeat(object? value, int times, RenderBudget budget)
    {
        if (value is string text)
        {
            budget.Charge((long)text.Length * times);
            return new StringBuilder(text.Length * times).Insert(0, text, times).ToString();
        }

        var list = (JinjaList)value!;
        budget.Charge((long)list.Items.Count * times * 16);
        return new JinjaList([.. Enumerable.Repeat(list.Items, times).SelectMany(items => items)], list.IsTuple);
    }

    /// <summary>UTF-16 order is that of code points but for surrogates against U+E000 and up.</summary>
    private static int CompareCodePoints(string left, string right)
    {
        var common = left.AsSpan().CommonPrefixLength(right);
        if (common == left.Length || common == right.Length)
        {
            return left.Length.CompareTo(right.Length);
        }

        var (a, b) = (left[common], right[common]);
        return char.IsSurrogate(a) == char.IsSurrogate(b) ? a.CompareTo(b) : char.IsSurrogate(a) ? 1 : -1;
    }

    private static JinjaException Unfit(string symbol, object? value) =>
        value is Undefined undefined ? undefined.Error() : new JinjaException($"'{symbol}' does not go with {JinjaText.TypeName(value)}");
}

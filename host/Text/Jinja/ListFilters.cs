using System.Globalization;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>Filters over lists, dictionaries and the characters of strings.</summary>
internal static class ListFilters
{
    public static IReadOnlyDictionary<string, Func<object?, JinjaArguments, object?>> All { get; } = new Dictionary<string, Func<object?, JinjaArguments, object?>>(StringComparer.Ordinal)
    {
        ["length"] = (value, _) => value switch
        {
            string text => (long)StringMethods.Length(text),
            JinjaDict dict => (long)dict.Count,
            _ => (long)JinjaOperators.Items(value).Count,
        },
        ["list"] = (value, arguments) => new JinjaList(Items(value, arguments)),
        ["items"] = (value, _) => value switch
        {
            Undefined => new JinjaList([]),
            JinjaDict dict => JinjaMembers.Pairs(dict),
            _ => throw new JinjaException($"items: {JinjaText.TypeName(value)} is not a dictionary"),
        },
        ["first"] = (value, arguments) => Items(value, arguments) is [var first, ..] ? first : new Undefined("the first of no items"),
        ["last"] = (value, arguments) => Items(value, arguments) is [.., var last] ? last : new Undefined("the last of no items"),
        ["join"] = (value, arguments) => StringMethods.Join(
            JinjaText.Str(arguments.Get(0, "d", "")), [.. Items(value, arguments).Select(Getter(arguments.Get(1, "attribute"), arguments))], arguments.Budget),
        ["reverse"] = (value, arguments) => value is string ? string.Concat(Items(value, arguments).Reverse()) : new JinjaList([.. Items(value, arguments).Reverse()]),
        ["sort"] = (value, arguments) => new JinjaList(Sorted(Items(value, arguments), SortKey(arguments.Get(2, "attribute"), arguments.Flag(1, "case_sensitive"), arguments), arguments.Flag(0, "reverse"))),
        ["dictsort"] = DictSort,
        ["unique"] = Unique,
        ["min"] = (value, arguments) => Extreme(value, arguments, sign: 1),
        ["max"] = (value, arguments) => Extreme(value, arguments, sign: -1),
        ["sum"] = (value, arguments) => Items(value, arguments).Select(Getter(arguments.Get(0, "attribute"), arguments))
            .Aggregate(arguments.Get(1, "start", 0L), (sum, item) => JinjaOperators.Arithmetic("+", sum, item, arguments.Budget)),
        ["map"] = Map,
        ["select"] = (value, arguments) => Chosen(value, arguments, byAttribute: false, keep: true),
        ["reject"] = (value, arguments) => Chosen(value, arguments, byAttribute: false, keep: false),
        ["selectattr"] = (value, arguments) => Chosen(value, arguments, byAttribute: true, keep: true),
        ["rejectattr"] = (value, arguments) => Chosen(value, arguments, byAttribute: true, keep: false),
        ["groupby"] = GroupBy,
        ["batch"] = Batch,
        ["slice"] = Slice,
    };

    private static IReadOnlyList<object?> Items(object? value, JinjaArguments arguments)
    {
        var items = JinjaOperators.Items(value);
        arguments.Budget.Charge(items.Count * 16L);
        return items;
    }

    /// <summary>What an item is looked at by: itself, or a member of it by a path such as 'function.name' or a number.</summary>
    private static Func<object?, object?> Getter(object? attribute, JinjaArguments arguments) => attribute switch
    {
        null => item => item,
        string path => item => path.Split('.').Aggregate(item, (target, name) =>
            JinjaMembers.Item(target, long.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var index) ? index : name)),
        long => item => JinjaMembers.Item(item, attribute),
        _ => throw new JinjaException($"{arguments.Callee}: the attribute must be a name or a number, not {JinjaText.TypeName(attribute)}"),
    };

    private static Func<object?, object?> Key(object? attribute, bool caseSensitive, JinjaArguments arguments)
    {
        var getter = Getter(attribute, arguments);
        return caseSensitive ? getter : item => getter(item) is string text ? text.ToLowerInvariant() : getter(item);
    }

    /// <summary>As <see cref="Key"/>; several attributes, separated by commas, sort by the first, then the second and so on.</summary>
    private static Func<object?, object?> SortKey(object? attribute, bool caseSensitive, JinjaArguments arguments)
    {
        if (attribute is not string names || !names.Contains(',', StringComparison.Ordinal))
        {
            return Key(attribute, caseSensitive, arguments);
        }

        var keys = names.Split(',').Select(name => Key(name, caseSensitive, arguments)).ToArray();
        return item => new JinjaList([.. keys.Select(key => key(item))]);
    }

    private static List<object?> Sorted(IEnumerable<object?> items, Func<object?, object?> key, bool reverse)
    {
        var order = Comparer<object?>.Create(JinjaOperators.Compare);
        // As Python's sort, equal items keep their order also when it is reversed.
        try
        {
            return reverse ? [.. items.OrderByDescending(key, order)] : [.. items.OrderBy(key, order)];
        }
        catch (InvalidOperationException error) when (error.InnerException is JinjaException refused)
        {
            throw refused; // sorting wraps what the comparison says
        }
    }

    private static JinjaList DictSort(object? value, JinjaArguments arguments)
    {
        var dict = value as JinjaDict ?? throw new JinjaException($"dictsort: {JinjaText.TypeName(value)} is not a dictionary");
        var by = arguments.Text(1, "by", "key") switch
        {
            "key" => 0L,
            "value" => 1L,
            var other => throw new JinjaException($"dictsort: 'by' must be key or value, not {other}"),
        };
        arguments.Budget.Charge(dict.Count * 16L);
        return new JinjaList(Sorted(JinjaMembers.Pairs(dict).Items, Key(by, arguments.Flag(0, "case_sensitive"), arguments), arguments.Flag(2, "reverse")));
    }

    private static JinjaList Unique(object? value, JinjaArguments arguments)
    {
        var key = Key(arguments.Get(1, "attribute"), arguments.Flag(0, "case_sensitive"), arguments);
        var seen = new JinjaDict();
        var kept = new List<object?>();
        foreach (var item in Items(value, arguments))
        {
            if (!seen.Contains(key(item)))
            {
                seen.Set(key(item), null);
                kept.Add(item);
            }
        }

        return new JinjaList(kept);
    }

    private static object? Extreme(object? value, JinjaArguments arguments, int sign)
    {
        var key = Key(arguments.Get(1, "attribute"), arguments.Flag(0, "case_sensitive"), arguments);
        var items = Items(value, arguments);
        return items.Count == 0 ? new Undefined($"the {arguments.Callee} of no items")
            : items.Aggregate((best, item) => JinjaOperators.Compare(key(item), key(best)) * sign < 0 ? item : best);
    }

    /// <summary>map(attribute=...), or map('filter', its arguments).</summary>
    private static JinjaList Map(object? value, JinjaArguments arguments)
    {
        if (arguments.Positional.Count == 0 && arguments.Named.TryGetValue("attribute", out var attribute))
        {
            var getter = Getter(attribute, arguments);
            return new JinjaList([.. Items(value, arguments).Select(item =>
                getter(item) is var found and not Undefined ? found : arguments.Named.GetValueOrDefault("default") ?? getter(item))]);
        }

        var name = arguments.Text(0, "filter");
        var filter = JinjaFilters.Find(name);
        var rest = new JinjaArguments(name, arguments.Budget, [.. arguments.Positional.Skip(1)], arguments.Named);
        return new JinjaList([.. Items(value, arguments).Select(item => filter(item, rest))]);
    }

    /// <summary>select('test', arguments) and selectattr('attribute', 'test', arguments); without a test, what is true.</summary>
    private static JinjaList Chosen(object? value, JinjaArguments arguments, bool byAttribute, bool keep)
    {
        var getter = Getter(byAttribute ? arguments.Require(0, "attribute") : null, arguments);
        var rest = arguments.Skip(byAttribute ? 1 : 0);
        Func<object?, JinjaArguments, bool> test = (item, _) => JinjaOperators.IsTrue(item);
        if (rest.Positional.Count > 0)
        {
            test = JinjaTests.Find(rest.Text(0, "test"));
            rest = rest.Skip(1);
        }

        return new JinjaList([.. Items(value, arguments).Where(item => test(getter(item), rest) == keep)]);
    }

    private static JinjaList GroupBy(object? value, JinjaArguments arguments)
    {
        var getter = Getter(arguments.Require(0, "attribute"), arguments);
        var groups = new List<object?>();
        var sorted = Sorted(Items(value, arguments), getter, reverse: false);
        for (var start = 0; start < sorted.Count;)
        {
            var key = getter(sorted[start]);
            var end = start + 1;
            while (end < sorted.Count && JinjaOperators.AreEqual(getter(sorted[end]), key))
            {
                end++;
            }

            groups.Add(new JinjaList([key, new JinjaList(sorted[start..end])], isTuple: true, names: ["grouper", "list"]));
            start = end;
        }

        return new JinjaList(groups);
    }

    /// <summary>As many columns as asked for, the first ones an item longer where they do not come out even.</summary>
    private static JinjaList Slice(object? value, JinjaArguments arguments)
    {
        var columns = arguments.Count(0, "slices", 0);
        if (columns is < 1 or > 1_000_000)
        {
            throw new JinjaException("slice needs a number of 1..1000000");
        }

        var items = Items(value, arguments);
        arguments.Budget.Charge(columns * 16L);
        var (each, longer) = (items.Count / columns, items.Count % columns);
        var fill = arguments.Get(1, "fill_with");
        return new JinjaList([.. Enumerable.Range(0, columns).Select(column =>
        {
            var start = (column * each) + Math.Min(column, longer);
            var part = items.Skip(start).Take(each + (column < longer ? 1 : 0));
            return (object?)new JinjaList(fill is not null && column >= longer && longer > 0 ? [.. part, fill] : [.. part]);
        })]);
    }

    private static JinjaList Batch(object? value, JinjaArguments arguments)
    {
        var size = arguments.Count(0, "linecount", 0);
        if (size is < 1 or > 1_000_000)
        {
            throw new JinjaException("batch needs a size of 1..1000000");
        }

        var fill = arguments.Get(1, "fill_with");
        arguments.Budget.Charge(fill is null ? 0 : size * 16L);
        return new JinjaList([.. Items(value, arguments).Chunk(size).Select(row =>
            (object?)new JinjaList(fill is null ? row : [.. row, .. Enumerable.Repeat(fill, size - row.Length)]))]);
    }
}

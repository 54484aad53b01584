namespace ScriptedServe.Host.Text.Jinja;

/// <summary>value.name and value[key]: methods of strings, lists and dictionaries, and what they hold.</summary>
internal static class JinjaMembers
{
    private static readonly HashSet<string> Mutators = new(StringComparer.Ordinal)
    {
        "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort", "popitem", "setdefault", "update",
    };

    /// <summary>A method before an entry of the same name: tool.items is the method, tool['items'] the entry.</summary>
    public static object? Attribute(object? target, string name)
    {
        switch (target)
        {
            case Undefined undefined:
                throw undefined.Error();
            case JinjaNamespace container:
                return container.Attributes.TryGetValue(name, out var attribute) ? attribute : Missing(target, name);
            case Macro macro when name == "name":
                return macro.Name;
            case Cycler cycler:
                return cycler.Attribute(name);
            case LoopState loop:
                return loop.Attribute(name);
            case string text:
                return (object?)StringMethods.Find(text, name) ?? Missing(target, name);
            case JinjaDict dict:
                return DictMethod(dict, name) ?? (dict.TryGet(name, out var entry) ? entry : Missing(target, name));
            case JinjaList list:
                return list.TryGetNamed(name, out var item) ? item : (object?)ListMethod(list, name) ?? Missing(target, name);
            default:
                return Missing(target, name);
        }
    }

    public static object? Item(object? target, object? key)
    {
        switch (target, key)
        {
            case (Undefined undefined, _):
                throw undefined.Error();
            case (JinjaDict dict, _):
                return dict.TryGet(key, out var entry) ? entry : key is string name ? (object?)DictMethod(dict, name) ?? Missing(target, name) : Missing(target, JinjaText.Repr(key));
            case (string or JinjaList, long or bool):
                var items = JinjaOperators.Items(target);
                var index = JinjaOperators.ToInteger(key);
                index = index < 0 ? index + items.Count : index;
                return index >= 0 && index < items.Count ? items[(int)index] : new Undefined($"item {JinjaText.Repr(key)} of {JinjaText.TypeName(target)} of length {items.Count}");
            default:
                return key is string attribute ? Attribute(target, attribute) : Missing(target, JinjaText.Repr(key));
        }
    }

    private static Undefined Missing(object? target, string name) => new($"'{name}' of {JinjaText.TypeName(target)}");

    private static JinjaFunction? DictMethod(JinjaDict dict, string name) => name switch
    {
        "get" => new JinjaFunction(arguments => dict.TryGet(arguments.Require(0, "key"), out var value) ? value : arguments.Get(1, "default")),
        "items" => new JinjaFunction(_ => Pairs(dict)),
        "keys" => new JinjaFunction(_ => new JinjaList([.. dict.Keys])),
        "values" => new JinjaFunction(_ => new JinjaList([.. dict.Values])),
        "copy" => new JinjaFunction(_ => dict),
        "clear" or "pop" or "popitem" or "setdefault" or "update" => Refused(name),
        _ => null,
    };

    public static JinjaList Pairs(JinjaDict dict) =>
        new([.. dict.Entries.Select(entry => (object?)new JinjaList([entry.Key, entry.Value], isTuple: true))]);

    private static JinjaFunction? ListMethod(JinjaList list, string name) => name switch
    {
        "index" => new JinjaFunction(arguments =>
        {
            var index = list.Items.ToList().FindIndex(item => JinjaOperators.AreEqual(item, arguments.Require(0, "value")));
            return index >= 0 ? (long)index : throw new JinjaException("index: the value is not in the list");
        }),
        "count" => new JinjaFunction(arguments => (long)list.Items.Count(item => JinjaOperators.AreEqual(item, arguments.Require(0, "value")))),
        "copy" => new JinjaFunction(_ => list),
        _ => Mutators.Contains(name) ? Refused(name) : null,
    };

    private static JinjaFunction Refused(string name) =>
        new(_ => throw new JinjaException($"'{name}' would change a value, which a chat template may not; use a namespace()"));
}

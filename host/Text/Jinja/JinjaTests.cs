namespace ScriptedServe.Host.Text.Jinja;

/// <summary>What can follow 'is'.</summary>
internal static class JinjaTests
{
    private static readonly Dictionary<string, Func<object?, JinjaArguments, bool>> Tests = new(StringComparer.Ordinal)
    {
        ["defined"] = (value, _) => value is not Undefined,
        ["undefined"] = (value, _) => value is Undefined,
        ["none"] = (value, _) => value is null,
        ["true"] = (value, _) => value is true,
        ["false"] = (value, _) => value is false,
        ["boolean"] = (value, _) => value is bool,
        ["string"] = (value, _) => value is string,
        ["number"] = (value, _) => JinjaOperators.IsNumber(value),
        ["integer"] = (value, _) => value is long or System.Numerics.BigInteger,
        ["float"] = (value, _) => value is double,
        ["mapping"] = (value, _) => value is JinjaDict,
        // Undefined passes these two in Jinja as well: it has a length and can be gone through.
        ["sequence"] = (value, _) => value is string or JinjaList or JinjaDict or Undefined,
        ["iterable"] = (value, _) => value is string or JinjaList or JinjaDict or Undefined,
        ["callable"] = (value, _) => value is ICallable,
        ["even"] = (value, _) => JinjaOperators.ToInteger(value).IsEven,
        ["odd"] = (value, _) => !JinjaOperators.ToInteger(value).IsEven,
        ["divisibleby"] = (value, arguments) => JinjaOperators.ToInteger(arguments.Require(0, "num")) is { IsZero: false } number
            ? (JinjaOperators.ToInteger(value) % number).IsZero
            : throw new JinjaException("division by zero"),
        ["in"] = (value, arguments) => JinjaOperators.Contains(arguments.Require(0, "seq"), value, arguments.Budget),
        ["sameas"] = (value, arguments) => arguments.Require(0, "other") is var other && (ReferenceEquals(value, other) || (value is not (JinjaList or JinjaDict) && JinjaText.TypeName(value) == JinjaText.TypeName(other) && JinjaOperators.AreEqual(value, other))),
        ["lower"] = (value, _) => JinjaText.Str(value) is var text && text.Any(char.IsLower) && !text.Any(char.IsUpper),
        ["upper"] = (value, _) => JinjaText.Str(value) is var text && text.Any(char.IsUpper) && !text.Any(char.IsLower),
        ["escaped"] = (_, _) => false,
        ["eq"] = (value, arguments) => JinjaOperators.AreEqual(value, arguments.Require(0, "other")),
        ["ne"] = (value, arguments) => !JinjaOperators.AreEqual(value, arguments.Require(0, "other")),
        ["lt"] = (value, arguments) => JinjaOperators.Compare(value, arguments.Require(0, "other")) < 0,
        ["le"] = (value, arguments) => JinjaOperators.Compare(value, arguments.Require(0, "other")) <= 0,
        ["gt"] = (value, arguments) => JinjaOperators.Compare(value, arguments.Require(0, "other")) > 0,
        ["ge"] = (value, arguments) => JinjaOperators.Compare(value, arguments.Require(0, "other")) >= 0,
        ["filter"] = (value, _) => JinjaFilters.Exists(JinjaText.Str(value)),
        ["test"] = (value, _) => Exists(JinjaText.Str(value)),
    };

    private static readonly Dictionary<string, string> OtherNames = new(StringComparer.Ordinal)
    {
        ["equalto"] = "eq",
        ["=="] = "eq",
        ["!="] = "ne",
        ["lessthan"] = "lt",
        ["<"] = "lt",
        ["<="] = "le",
        ["greaterthan"] = "gt",
        [">"] = "gt",
        [">="] = "ge",
    };

    public static bool Exists(string name) => Tests.ContainsKey(OtherNames.GetValueOrDefault(name, name));

    /// <exception cref="JinjaException">There is no such test.</exception>
    public static Func<object?, JinjaArguments, bool> Find(string name) => Tests.GetValueOrDefault(OtherNames.GetValueOrDefault(name, name))
        ?? throw new JinjaException($"there is no test '{name}'; there are: {string.Join(", ", Tests.Keys.Order(StringComparer.Ordinal))}");
}

using System.CommandLine;
using Microsoft.Extensions.Configuration;

namespace ScriptedServe.Engine.Options;

/// <summary>One option of the engine: its names on the command line, in the environment and in appsettings.json, and what it means.</summary>
/// <param name="Name">Without dashes in front, as in <c>kv-memory</c>.</param>
/// <param name="ValueName">Stands for the value in the help.</param>
/// <param name="Description">Meaning, unit, default and range.</param>
/// <param name="Many">May be given several times; elsewhere than on the command line, commas separate the values.</param>
/// <param name="Alias">Another name on the command line.</param>
public sealed record EngineSetting(string Name, string ValueName, string Description, bool Many = false, string? Alias = null)
{
    private const string Section = "ScriptedServe";

    private Option<string[]>? _option;

    /// <summary><c>SCRIPTEDSERVE_KV_MEMORY</c></summary>
    public string Variable => "SCRIPTEDSERVE_" + Name.Replace('-', '_').ToUpperInvariant();

    /// <summary><c>ScriptedServe:KvMemory</c></summary>
    public string Key => $"{Section}:{string.Concat(Name.Split('-').Select(word => char.ToUpperInvariant(word[0]) + word[1..]))}";

    public Option<string[]> Option => _option ??= new Option<string[]>("--" + Name, Alias is null ? [] : [Alias])
    {
        Description = $"{Description} [{Variable}]",
        HelpName = ValueName,
        Arity = ArgumentArity.OneOrMore,
        AllowMultipleArgumentsPerToken = false,
    };

    /// <summary>The values and the name of where they were set: the command line, then the environment, then appsettings.json; null if nowhere.</summary>
    public (IReadOnlyList<string> Values, string Source)? Find(ParseResult commandLine, Func<string, string?> environment, IConfiguration file)
    {
        if (commandLine.GetResult(Option) is { Implicit: false, Tokens.Count: > 0 } given)
        {
            return ([.. given.Tokens.Select(token => token.Value)], "--" + Name);
        }

        if (environment(Variable) is { Length: > 0 } variable)
        {
            return (Split(variable), Variable);
        }

        return file[Key] is { Length: > 0 } text ? (Split(text), $"{Key} in appsettings.json") : null;
    }

    private string[] Split(string text) =>
        Many ? text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) : [text];
}

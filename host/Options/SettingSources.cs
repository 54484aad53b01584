namespace ScriptedServe.Host.Options;

/// <summary>A setting's values and where they were set, for errors.</summary>
internal sealed record SettingValues(IReadOnlyList<string> Values, string Source);

/// <summary>Looks settings up: on the command line, then in the environment, then in appsettings.json.</summary>
internal sealed class SettingSources(Func<HostSetting, IReadOnlyList<string>> commandLine, Func<string, string?> environment, IConfiguration file)
{
    private const string Section = "ScriptedServe";

    /// <summary>Null where it is set nowhere.</summary>
    public SettingValues? Find(HostSetting setting)
    {
        if (commandLine(setting) is { Count: > 0 } given)
        {
            return new SettingValues(given, setting.Flag);
        }

        if (environment(setting.Variable) is { Length: > 0 } variable)
        {
            return new SettingValues(Split(setting, variable), setting.Variable);
        }

        var section = file.GetSection($"{Section}:{setting.Key}");
        string[] listed = [.. section.GetChildren().Select(child => child.Value).OfType<string>()];
        var source = $"{Section}:{setting.Key} in appsettings.json";
        return listed.Length > 0 ? new SettingValues(listed, source)
            : section.Value is { Length: > 0 } text ? new SettingValues(Split(setting, text), source)
            : null;
    }

    private static string[] Split(HostSetting setting, string text) =>
        setting.Many ? text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) : [text];
}

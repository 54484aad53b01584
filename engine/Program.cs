using System.CommandLine;
using System.Security.Cryptography;
using Microsoft.Extensions.Configuration;
using ScriptedServe.Engine;
using ScriptedServe.Engine.Options;
using ScriptedServe.Engine.Profiling;

const int WrongOptions = 2;

var root = new RootCommand("ScriptedServe engine: one model on one device, served by microserving calls. Options also read the environment (named in brackets) and appsettings.json, section ScriptedServe.");
foreach (var setting in EngineSettings.All)
{
    root.Options.Add(setting.Option);
}

var profile = new Command("profile", "Measure prefill, decode and KV copies of a model on this machine; print a table, and write JSON for simulators and scripts.");
foreach (var setting in ProfileOptions.Settings)
{
    profile.Options.Add(setting.Option);
}

root.Subcommands.Add(profile);

var exitCode = 0;
root.SetAction(async (parsed, cancelled) =>
{
    if (Configuration() is { } file)
    {
        var (options, errors) = Read(parsed, file);
        exitCode = options is null ? Refuse(errors) : await EngineProcess.RunAsync(options, Console.Out, Console.Error, TimeProvider.System, cancelled);
    }
});
profile.SetAction(async (parsed, cancelled) =>
{
    if (Configuration() is { } file)
    {
        var (options, errors) = Read(parsed, file);
        var (own, ownErrors) = ProfileOptions.Read(parsed, Environment.GetEnvironmentVariable, file);
        exitCode = options is null || own is null
            ? Refuse([.. errors, .. ownErrors])
            : await ProfileCommand.RunAsync(options, own, Console.Out, Console.Error, TimeProvider.System);
    }
});

var parse = root.Parse(args);
if (parse.Errors.Count > 0)
{
    // Every other error is told together with those of the syntax.
    return Refuse(Read(parse, new ConfigurationBuilder().Build()).Errors);
}

// The engine ends in order on its own; no signal is to cut that short.
var invoked = await parse.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null });
return invoked != 0 ? invoked : exitCode;

static (EngineOptions? Options, IReadOnlyList<string> Errors) Read(ParseResult parsed, IConfiguration file) => EngineOptions.Read(
    parsed,
    Environment.GetEnvironmentVariable,
    file,
    Path.Combine(AppContext.BaseDirectory, "models"),
    () => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4)));

IConfiguration? Configuration()
{
    try
    {
        return new ConfigurationBuilder().SetBasePath(Directory.GetCurrentDirectory()).AddJsonFile("appsettings.json", optional: true).Build();
    }
    catch (InvalidDataException e)
    {
        exitCode = Refuse([e.InnerException is { } inner ? $"{e.Message} {inner.Message}" : e.Message]);
        return null;
    }
}

static int Refuse(IReadOnlyList<string> errors)
{
    foreach (var error in errors)
    {
        Console.Error.WriteLine($"engine: {error}");
    }

    Console.Error.WriteLine("engine: see --help");
    return WrongOptions;
}

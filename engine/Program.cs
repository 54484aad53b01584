using System.CommandLine;
using System.Security.Cryptography;
using Microsoft.Extensions.Configuration;
using ScriptedServe.Engine;
using ScriptedServe.Engine.Options;

const int WrongOptions = 2;

var root = new RootCommand("ScriptedServe engine: one model on one device, served by microserving calls. Options also read the environment (named in brackets) and appsettings.json, section ScriptedServe.");
foreach (var setting in EngineSettings.All)
{
    root.Options.Add(setting.Option);
}

var exitCode = 0;
root.SetAction(async (parsed, cancelled) =>
{
    IConfiguration file;
    try
    {
        file = new ConfigurationBuilder().SetBasePath(Directory.GetCurrentDirectory()).AddJsonFile("appsettings.json", optional: true).Build();
    }
    catch (InvalidDataException e)
    {
        exitCode = Refuse([e.InnerException is { } inner ? $"{e.Message} {inner.Message}" : e.Message]);
        return;
    }

    var (options, errors) = EngineOptions.Read(
        parsed,
        Environment.GetEnvironmentVariable,
        file,
        Path.Combine(AppContext.BaseDirectory, "models"),
        () => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4)));
    exitCode = options is null ? Refuse(errors) : await EngineProcess.RunAsync(options, Console.Out, Console.Error, TimeProvider.System, cancelled);
});

var parse = root.Parse(args);
if (parse.Errors.Count > 0)
{
    // Every other error is told together with those of the syntax.
    return Refuse(EngineOptions.Read(parse, Environment.GetEnvironmentVariable, new ConfigurationBuilder().Build(), Path.Combine(AppContext.BaseDirectory, "models"), () => "0").Errors);
}

// The engine ends in order on its own; no signal is to cut that short.
var invoked = await parse.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null });
return invoked != 0 ? invoked : exitCode;

static int Refuse(IReadOnlyList<string> errors)
{
    foreach (var error in errors)
    {
        Console.Error.WriteLine($"engine: {error}");
    }

    Console.Error.WriteLine("engine: see --help");
    return WrongOptions;
}

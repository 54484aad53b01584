using System.Runtime.InteropServices;
using ScriptedServe.Host;
using ScriptedServe.Host.Commands;
using ScriptedServe.Host.Scripts;

if (args is [CompilerWorker.Argument])
{
    // A terminal's Ctrl-C goes to all processes at once; this one ends when the host lets go of it, and not while that still waits for its answer.
    using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, static signal => signal.Cancel = true);
    using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, static signal => signal.Cancel = true);
    await CompilerWorker.RunAsync(Console.OpenStandardInput(), Console.OpenStandardOutput());
    return 0;
}

// First of all: the runtime reads it once.
RuntimeTuning.Apply();

var file = new ConfigurationBuilder()
    .AddJsonFile(Path.Combine(AppContext.BaseDirectory, "appsettings.json"), optional: true)
    .AddJsonFile(Path.Combine(Directory.GetCurrentDirectory(), "appsettings.json"), optional: true)
    .Build();
var commandLine = new CommandLine(
    (options, _) => ServeCommand.RunAsync(options, file, TimeProvider.System, Console.Out, Console.Error),
    Environment.GetEnvironmentVariable,
    file,
    Environment.ProcessorCount,
    Console.Out,
    Console.Error,
    TimeProvider.System,
    Terminal.Of(Environment.GetEnvironmentVariable, Console.IsOutputRedirected || Console.IsErrorRedirected));
return await commandLine.RunAsync(args);

using System.Net.Sockets;
using ScriptedServe.Host.Engines;
using ScriptedServe.Host.Engines.Supervision;
using ScriptedServe.Host.Models;
using ScriptedServe.Host.Options;
using ScriptedServe.Host.Scripts.Store;

namespace ScriptedServe.Host.Commands;

/// <summary>Runs the host until it is told to stop, and says on the terminal what a person wants to know.</summary>
internal static class ServeCommand
{
    private const int Failed = 1;
    private const int AskedWrongly = 2;

    public static async Task<int> RunAsync(ServeOptions options, IConfiguration file, TimeProvider time, TextWriter output, TextWriter errors)
    {
        try
        {
            await using var host = await HostApplication.BuildAsync(options, file, time);
            await host.StartAsync();
            await output.WriteLineAsync($"Listening on {host.Url}; starting {Starting(options)} ...");
            var ready = host.WaitUntilReadyAsync();

            // Told to stop while it comes up, it never gets ready.
            if (await Task.WhenAny(ready, host.Stopped) == ready && ready.IsCompletedSuccessfully)
            {
                await output.WriteLineAsync(Welcome(host));
            }

            await host.Stopped;
            return 0;
        }
        catch (IOException e) when (e.InnerException is SocketException || e.InnerException?.InnerException is SocketException)
        {
            await errors.WriteLineAsync($"error: cannot listen on {options.Host}:{options.Port}: {e.InnerException.Message}. Another program may use the port; choose one with --port, or --port 0 for any free one.");
            return Failed;
        }
        catch (Exception e) when (e is ModelFolderException or EngineStartException or FleetException or RouterStoreException or RouterStoreInUseException)
        {
            await errors.WriteLineAsync($"error: {e.Message}");
            return e is FleetException { Problem: FleetProblem.BadSecret } ? AskedWrongly : Failed;
        }
    }

    private static string Starting(ServeOptions options) => string.Join(" and ", new[]
    {
        options.Engines > 0 ? $"{options.Engines} local engine{(options.Engines > 1 ? "s" : "")}" : null,
        options.EngineUrls.Count > 0 ? $"attaching {string.Join(", ", options.EngineUrls)}" : null,
    }.OfType<string>());

    private static string Welcome(HostApplication host)
    {
        var engines = host.Engines.Select(engine => $"{engine.Id} [{string.Join(", ", engine.Labels)}] {engine.Device}");
        return $$"""

            ScriptedServe is ready on {{host.Url}}
              model     {{host.ModelId}}
              router    {{host.DefaultRouter}}, of {{host.RouterCount}} in {{host.ScriptsFolder}}
              engines   {{string.Join("; ", engines)}}
              dashboard {{host.Url}}/

            Try:
              curl {{host.Url}}/v1/completions -H 'Content-Type: application/json' -d '{"model": "{{host.ModelId}}", "prompt": "Once upon a time", "max_tokens": 40}'

            """;
    }
}

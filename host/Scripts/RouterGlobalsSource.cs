using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Scripts;

/// <summary>Makes the globals of each version; its <see cref="For"/> is what <see cref="RouterCatalog"/> asks for.</summary>
/// <param name="options">The configured options of a router by name.</param>
public sealed class RouterGlobalsSource(
    RouterFleet fleet, RouterTraffic traffic, TimeProvider time, ILoggerFactory loggers, Func<string, IReadOnlyDictionary<string, string>> options)
{
    private readonly RouterStates _states = new();

    public RouterGlobals For(string name, int version) => new(
        fleet, traffic, _states.For(name), new Lines(loggers.CreateLogger($"ScriptedServe.Router.{name}"), $"{name}@{version}"), new ScriptClock(time), new RouterOptionValues(options(name)));

    private sealed class Lines(ILogger log, string router) : RouterLog
    {
        public override void Info(string message) => Write(LogLevel.Information, message);

        public override void Warn(string message) => Write(LogLevel.Warning, message);

        private void Write(LogLevel level, string message)
        {
            var scope = ScriptScope.Current;
            scope?.Record?.Wrote(level == LogLevel.Warning, message ?? "");
            if (scope?.RequestId is { } request)
            {
                log.Log(level, "{Router} {Request}: {Message}", router, request, message);
            }
            else
            {
                log.Log(level, "{Router}: {Message}", router, message);
            }
        }
    }
}

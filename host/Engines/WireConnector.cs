using ScriptedServe.Contracts;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Contracts.Wire.Client;

namespace ScriptedServe.Host.Engines;

/// <summary>Reaches engines over the wire.</summary>
/// <param name="token">Asked for before each new connection and presented to engines that other machines can reach too; null: none is known.</param>
internal sealed class WireConnector(Func<string?> token, TimeProvider time) : IEngineConnector
{
    public IEngineApi Connect(string address)
    {
        var parsed = EngineAddress.Parse(address);
        return new EngineClient(parsed, new EngineClientOptions { BearerToken = parsed.SocketPath is null ? token() : null }, time);
    }
}

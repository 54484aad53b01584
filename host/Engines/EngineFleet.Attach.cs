using ScriptedServe.Contracts;
using Wire = ScriptedServe.Contracts.V1;

namespace ScriptedServe.Host.Engines;

/// <summary>How an engine that runs on its own joins: it is asked who it is, and refused if it serves something else.</summary>
public sealed partial class EngineFleet
{
    /// <summary>
    /// Attaches an engine that runs on its own. With <paramref name="mustAnswer"/> it has to answer and fit now; without, it may come up later.
    /// </summary>
    /// <param name="id">Null: the address without its scheme, a path's slashes as dashes.</param>
    /// <exception cref="FleetException">Bad address, id taken, no answer, or another model than the fleet's.</exception>
    internal async Task<EngineMember> AttachAsync(string address, string? id, IReadOnlyCollection<string> labels, bool mustAnswer, CancellationToken cancellationToken)
    {
        id ??= IdOf(address);
        IEngineApi api;
        try
        {
            api = connector.Connect(address);
        }
        catch (Exception e) when (e is FormatException or ArgumentException)
        {
            throw new FleetException(FleetProblem.BadAddress, $"'{address}' is no engine address (http://host:port or unix:path): {e.Message}");
        }

        try
        {
            if (mustAnswer)
            {
                RefuseIfOther(await StatusAsync(api, address, cancellationToken), address);
            }
        }
        finally
        {
            await DisposeAsync(api);
        }

        var entry = Add(id, EngineOrigin.Attached, address, labels);
        var member = entry.Member;
        Watch(member, address);
        if (mustAnswer)
        {
            // It has just answered: whoever attached it may route to it when this returns.
            await entry.Heard.Task.WaitAsync(settings.ControlTimeout, time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return member;
    }

    /// <summary>An id is one part of an URL's path.</summary>
    private static string IdOf(string address)
    {
        const string socket = "unix:";
        var scheme = address.IndexOf("://", StringComparison.Ordinal);
        return address.StartsWith(socket, StringComparison.Ordinal) ? address[socket.Length..].Trim('/').Replace('/', '-')
            : scheme >= 0 ? address[(scheme + 3)..].TrimEnd('/')
            : address;
    }

    private async Task<Wire.EngineStatus> StatusAsync(IEngineApi api, string address, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(settings.ControlTimeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            return await api.GetStatusAsync(new Wire.GetStatusRequest(), either.Token);
        }
        catch (RpcException e)
        {
            throw new FleetException(FleetProblem.Unreachable, $"The engine at {address} does not answer: {e.Message}");
        }
        catch (OperationCanceledException) when (timeout.IsCancellationRequested)
        {
            throw new FleetException(FleetProblem.Unreachable, $"The engine at {address} did not answer within {settings.ControlTimeout.TotalSeconds:0.#} s.");
        }
    }

    private void RefuseIfOther(Wire.EngineStatus status, string address)
    {
        if (Model?.WhyNot(FleetModel.Of(status), settings.AlsoModels) is { } difference)
        {
            throw new FleetException(FleetProblem.Mismatch, $"The engine at {address} cannot join: {difference}.");
        }
    }
}

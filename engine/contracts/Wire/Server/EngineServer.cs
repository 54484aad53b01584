using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace ScriptedServe.Contracts.Wire.Server;

/// <summary>An engine's microserving calls served on one address, from start to disposal. The engine itself belongs to the caller.</summary>
public sealed class EngineServer : IAsyncDisposable
{
    private readonly WebApplication _app;

    private EngineServer(WebApplication app, EngineAddress address) => (_app, Address) = (app, address);

    /// <summary>As asked for, with the real port in place of 0.</summary>
    public EngineAddress Address { get; }

    /// <exception cref="IOException">The address cannot be bound.</exception>
    /// <exception cref="InvalidOperationException">Other machines can reach the address and no token is set.</exception>
    public static async Task<EngineServer> StartAsync(
        IEngineApi api,
        EngineAddress listen,
        RpcServerOptions options,
        TimeProvider time,
        ILoggerFactory loggers,
        CancellationToken cancellationToken = default)
    {
        if (!listen.IsLocal && options.BearerToken is null)
        {
            throw new InvalidOperationException($"Refusing to listen on {listen} without a token: other machines can reach it. Set one, or listen on a unix socket or a loopback address.");
        }

        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.Services.AddRoutingCore();
        builder.Services.AddSingleton(time);
        builder.Services.AddSingleton(loggers);
        // The process's signals are the program's business.
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.ListenEngine(listen));

        // Each call would wake two threads more, one for what comes and one for what is written.
        builder.WebHost.UseSockets(static sockets => sockets.UnsafePreferInlineScheduling = true);

        var app = builder.Build();
        try
        {
            app.UseRouting();
            app.MapEngineApi(api, options);
            await app.StartAsync(cancellationToken);
            if (listen.SocketPath is not null && !OperatingSystem.IsWindows())
            {
                File.SetUnixFileMode(listen.SocketPath, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            }

            return new(app, listen.SocketPath is not null ? listen : EngineAddress.Tcp(listen.Host, BoundPort(app)));
        }
        catch
        {
            await app.DisposeAsync();
            throw;
        }
    }

    /// <summary>Takes no new calls and lets those under way finish until the token is cancelled; then they are cut off.</summary>
    public Task StopAsync(CancellationToken cancellationToken) => _app.StopAsync(cancellationToken);

    /// <summary>Cuts off the calls under way and closes the address.</summary>
    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync(new CancellationToken(canceled: true));
        await _app.DisposeAsync();
        if (Address.SocketPath is not null)
        {
            File.Delete(Address.SocketPath);
        }
    }

    private static int BoundPort(WebApplication app)
    {
        var bound = app.Services.GetRequiredService<IServer>().Features.GetRequiredFeature<IServerAddressesFeature>().Addresses.First();
        return BindingAddress.Parse(bound).Port;
    }

    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}

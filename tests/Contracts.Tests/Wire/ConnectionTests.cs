using System.Net;
using System.Net.Sockets;
using ScriptedServe.Contracts.Wire;
using static ScriptedServe.Contracts.Tests.Wire.WireTesting;

namespace ScriptedServe.Contracts.Tests.Wire;

/// <summary>Servers that are absent, go away, come back or fall silent.</summary>
public class ConnectionTests
{
    private readonly ScriptedEngine _engine = new();

    [Theory]
    [InlineData("tcp")]
    [InlineData("unix")]
    public async Task An_address_nobody_listens_on_is_UNAVAILABLE_by_name(string transport)
    {
        var server = await ServeAsync(_engine, Listen(transport));
        await server.DisposeAsync();
        using var client = Call(server.Address);

        var failure = await FailsAsync(client.GetStatusAsync(new(), CancellationToken.None));

        Assert.Equal(RpcStatus.Unavailable, failure.Status);
        Assert.Contains(server.Address.ToString(), failure.Message);
    }

    [Theory]
    [InlineData("tcp")]
    [InlineData("unix")]
    public async Task A_server_that_goes_away_ends_its_calls_and_a_new_one_is_found(string transport)
    {
        var server = await ServeAsync(_engine, Listen(transport));
        using var client = Call(server.Address);
        var call = ToListAsync(client.StartGenerateAsync(new() { RequestId = "hang 1" }, CancellationToken.None));
        Assert.Equal("hangs", await _engine.NextEventAsync());

        await server.DisposeAsync();
        Assert.Equal(RpcStatus.Unavailable, (await FailsAsync(call)).Status);

        await using var successor = await ServeAsync(_engine, server.Address);
        Assert.NotNull(await client.GetStatusAsync(new(), CancellationToken.None).Within());
    }

    [Fact]
    public async Task A_server_that_falls_silent_is_noticed_by_pings()
    {
        await using var server = await ServeAsync(_engine);
        await using var link = new BreakableLink(server.Address.Port);
        using var client = Call(EngineAddress.Tcp("127.0.0.1", link.Port), new() { PingDelay = TimeSpan.FromSeconds(1), PingTimeout = TimeSpan.FromSeconds(1) });
        var call = client.AbortAsync(new() { RequestId = "hang" }, CancellationToken.None);
        Assert.Equal("hangs", await _engine.NextEventAsync());

        link.FallSilent();

        Assert.Equal(RpcStatus.Unavailable, (await FailsAsync(call)).Status);
    }

    [Fact]
    public async Task A_socket_left_by_a_dead_process_is_replaced_and_a_live_one_is_not()
    {
        var address = NewSocket();
        using (var dead = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            // Moved away from where it was bound, so that closing the socket leaves the file.
            var other = address.SocketPath + "x";
            dead.Bind(new UnixDomainSocketEndPoint(other));
            File.Move(other, address.SocketPath!);
        }

        await using var server = await ServeAsync(_engine, address);
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(address.SocketPath!));
        }

        var refused = await Assert.ThrowsAsync<IOException>(() => ServeAsync(_engine, address));
        Assert.Contains("another process listens", refused.Message);
        using var client = Call(address);
        Assert.NotNull(await client.GetStatusAsync(new(), CancellationToken.None).Within());
    }

    [Fact]
    public async Task A_file_that_is_no_socket_is_not_deleted()
    {
        var address = NewSocket();
        await File.WriteAllTextAsync(address.SocketPath!, "notes");
        try
        {
            await Assert.ThrowsAsync<IOException>(() => ServeAsync(_engine, address));
            Assert.Equal("notes", await File.ReadAllTextAsync(address.SocketPath!));
        }
        finally
        {
            File.Delete(address.SocketPath!);
        }
    }

    [Fact]
    public async Task Stopping_lets_the_calls_under_way_finish()
    {
        var go = new TaskCompletionSource();
        var entered = new TaskCompletionSource();
        _engine.OnPrepRecv = async (_, _) =>
        {
            entered.SetResult();
            await go.Task;
            return new() { ReservationId = "late" };
        };
        await using var server = await ServeAsync(_engine);
        using var client = Call(server.Address);
        var call = client.PrepRecvAsync(new(), CancellationToken.None);
        await entered.Task.Within();

        var stopping = server.StopAsync(CancellationToken.None);
        go.SetResult();

        Assert.Equal("late", (await call.Within()).ReservationId);
        await stopping.Within();
    }

    /// <summary>Forwards TCP to a port of this machine until told to swallow everything.</summary>
    private sealed class BreakableLink : IAsyncDisposable
    {
        private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
        private readonly CancellationTokenSource _stop = new();
        private readonly Task _running;
        private volatile bool _isSilent;

        public BreakableLink(int port)
        {
            _listener.Start();
            _running = RunAsync(port);
        }

        public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

        public void FallSilent() => _isSilent = true;

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            _listener.Stop();
            await _running.ContinueWith(_ => { }, TaskScheduler.Default);
            _stop.Dispose();
        }

        private async Task RunAsync(int port)
        {
            using var near = await _listener.AcceptTcpClientAsync(_stop.Token);
            using var far = new TcpClient();
            await far.ConnectAsync(IPAddress.Loopback, port, _stop.Token);
            await Task.WhenAll(PumpAsync(near.GetStream(), far.GetStream()), PumpAsync(far.GetStream(), near.GetStream()));
        }

        private async Task PumpAsync(NetworkStream from, NetworkStream to)
        {
            var buffer = new byte[4096];
            while (await from.ReadAsync(buffer, _stop.Token) is > 0 and var count)
            {
                if (!_isSilent)
                {
                    await to.WriteAsync(buffer.AsMemory(0, count), _stop.Token);
                }
            }
        }
    }
}

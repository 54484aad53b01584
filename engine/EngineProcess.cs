using System.Diagnostics;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using ScriptedServe.Contracts;
using ScriptedServe.Contracts.Wire.Server;
using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Compute.Synthetic;
using ScriptedServe.Engine.Options;
using ScriptedServe.Engine.Scheduling;
using ScriptedServe.Engine.Service;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine;

/// <summary>
/// One engine from start to end of its process: (1) secret and model, (2) KV pool and transport, (3) core and its thread, (4) the service's listener;
/// then, when told to stop, the same backwards: no new calls, everything held is released, each part closed.
/// </summary>
public static class EngineProcess
{
    private const int Failed = 1;
    private static readonly TimeSpan ShutdownTimeout = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan LastRepliesTimeout = TimeSpan.FromSeconds(2);

    /// <returns>The exit code: 0 after an orderly end, 1 if it could not start or a part of it failed.</returns>
    /// <param name="cancelled">Ends the engine, as SIGTERM, SIGINT and the end of the parent do.</param>
    public static Task<int> RunAsync(EngineOptions options, TextWriter output, TextWriter errors, TimeProvider time, CancellationToken cancelled) =>
        RunAsync(options, EngineModel.OpenGpu, output, errors, time, cancelled);

    /// <param name="openGpu">Opens the GPU of the options.</param>
    internal static async Task<int> RunAsync(
        EngineOptions options, Func<EngineOptions, ModelKernels, IGpu> openGpu, TextWriter output, TextWriter errors, TimeProvider time, CancellationToken cancelled)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancelled);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => Stop(context, stop));
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => Stop(context, stop));
        try
        {
            return await ServeAsync(options, openGpu, output, errors, time, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            return 0;
        }
        catch (Exception e) when (EngineModel.IsTold(e) || e is SocketException or InvalidOperationException)
        {
            await errors.WriteLineAsync($"engine: {e.Message}");
            return Failed;
        }
    }

    private static async Task<int> ServeAsync(
        EngineOptions options, Func<EngineOptions, ModelKernels, IGpu> openGpu, TextWriter output, TextWriter errors, TimeProvider time, CancellationTokenSource stop)
    {
        _ = WatchParentAsync(options.ParentPid, errors, stop);

        // (1)
        var secret = options.ClusterSecretFile is { } file ? ClusterSecret.Read(file) : ClusterSecret.ReadOrCreate(ClusterSecret.DefaultPath);
        using var pace = new StepPace(time);
        using var runner = EngineModel.Load(options, openGpu, pace, errors, time);

        // (2)
        var pages = (int)Math.Min(int.MaxValue, options.KvMemoryBytes / runner.Layout.PageBytesAllLayers);
        if (pages < 1)
        {
            throw new ArgumentException($"--kv-memory {options.KvMemoryBytes} bytes is less than one page of this model, {runner.Layout.PageBytesAllLayers} bytes (--page-tokens {options.PageTokens}, --kv-dtype {runner.Layout.DataType.Name()})");
        }

        var epoch = BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(8));
        using var sockets = SocketFolder.For(options.Listen.SocketPath);
        using var pool = runner.CreatePool(pages, epoch);
        await using var receiver = KvEndpoint.Start(pool, new KvEndpointOptions
        {
            EngineId = options.EngineId,
            Epoch = epoch,
            ClusterSecret = secret.Bytes,
            UnixPath = options.SharedMemory ? sockets.KvSocketPath : null,
            TcpBind = options.KvListen,
            AdvertisedHost = options.KvAdvertise,
            TimeProvider = time,
        });
        await using var sender = new KvSender(pool, new KvSenderOptions
        {
            ClusterSecret = secret.Bytes,
            AllowSharedMemory = options.SharedMemory,
            TimeProvider = time,
        });

        // (3)
        using var core = new EngineCore(runner, pool, receiver, options.Limits, new EngineIdentity(options.EngineId, epoch, options.Labels, options.Device, options.TensorParallel), time);
        using var loop = new EngineLoop(core);
        var service = new EngineService(core, sender, time);

        // (4)
        using var loggers = LoggerFactory.Create(logging => logging.AddSimpleConsole(console => console.SingleLine = true).SetMinimumLevel(LogLevel.Warning));
        await using var server = await EngineServer.StartAsync(
            service,
            options.Listen,
            new RpcServerOptions { BearerToken = options.Listen.IsLocal ? null : secret.BearerToken },
            time,
            loggers,
            stop.Token);
        await output.WriteLineAsync($"listening on {server.Address}");
        await output.FlushAsync(CancellationToken.None);
        try
        {
            var failure = await loop.Failed.WaitAsync(stop.Token);
            await errors.WriteLineAsync($"engine: a step failed, so the engine ends: {failure}");
        }
        catch (OperationCanceledException)
        {
            // Told to stop.
        }

        try
        {
            await service.ShutdownAsync().WaitAsync(ShutdownTimeout, time);
        }
        catch (TimeoutException)
        {
            await output.WriteLineAsync($"not everything was released within {ShutdownTimeout.TotalSeconds} s, as when a sender keeps KV pages busy; ending without it");
        }

        using var lastReplies = new CancellationTokenSource(LastRepliesTimeout, time);
        await server.StopAsync(lastReplies.Token);
        return loop.Failed.IsCompleted ? Failed : 0;
    }

    private static void Stop(PosixSignalContext context, CancellationTokenSource stop)
    {
        context.Cancel = true;
        stop.Cancel();
    }

    private static async Task WatchParentAsync(int? pid, TextWriter errors, CancellationTokenSource stop)
    {
        if (pid is not { } parentPid)
        {
            return;
        }

        try
        {
            using var parent = Process.GetProcessById(parentPid);
            await parent.WaitForExitAsync(stop.Token);
        }
        catch (ArgumentException)
        {
            // It is gone already.
        }
        catch (OperationCanceledException)
        {
            return;
        }
        catch (Exception e)
        {
            // Better to end than to outlive a parent unseen.
            await errors.WriteLineAsync($"engine: cannot watch the parent process {parentPid} (--parent-pid), so it ends: {e.GetType().Name}: {e.Message}");
        }

        await stop.CancelAsync();
    }
}

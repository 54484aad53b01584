using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace ScriptedServe.DataPathBenchmarks.Processes;

/// <summary>nginx as a plain proxy of event streams: no buffering, connections kept alive on both sides.</summary>
internal sealed class Nginx : IDisposable
{
    private readonly ChildProcess _process;
    private readonly DirectoryInfo _folder;

    private Nginx(ChildProcess process, DirectoryInfo folder, int port) => (_process, _folder, Port) = (process, folder, port);

    public int Port { get; }

    public IEnumerable<int> Pids => ProcessCpu.Children(_process.Id);

    public static string? Program { get; } = new[] { "/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx" }.FirstOrDefault(File.Exists);

    public static async Task<Nginx> StartAsync(int upstream, TimeProvider time)
    {
        var port = FreePort();
        var folder = Directory.CreateTempSubdirectory("scriptedserve-nginx-");
        var config = Path.Combine(folder.FullName, "nginx.conf");
        await File.WriteAllTextAsync(config, string.Create(CultureInfo.InvariantCulture, $$"""
            daemon off;
            worker_processes {{Environment.ProcessorCount}};
            pid {{folder.FullName}}/pid;
            error_log {{folder.FullName}}/error.log;
            events { worker_connections 2048; }
            http {
                access_log off;
                client_body_temp_path {{folder.FullName}};
                proxy_temp_path {{folder.FullName}};
                upstream stub { server 127.0.0.1:{{upstream}}; keepalive 512; keepalive_requests 100000000; }
                server {
                    listen 127.0.0.1:{{port}};
                    keepalive_requests 100000000;
                    location / {
                        proxy_pass http://stub;
                        proxy_http_version 1.1;
                        proxy_set_header Connection "";
                        proxy_buffering off;
                    }
                }
            }
            """));
        var process = ChildProcess.Start(Program!, new Dictionary<string, string>(), "-e", $"{folder.FullName}/error.log", "-c", config);
        var started = new Nginx(process, folder, port);
        for (var tries = 0; ; tries++)
        {
            try
            {
                using var probe = new TcpClient();
                await probe.ConnectAsync(IPAddress.Loopback, port);
                return started;
            }
            catch (SocketException) when (tries < 100)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(50), time);
            }
        }
    }

    public void Dispose()
    {
        // Killed, it would leave its workers behind.
        using (var quit = System.Diagnostics.Process.Start("kill", ["-QUIT", _process.Id.ToString(CultureInfo.InvariantCulture)]))
        {
            quit.WaitForExit();
        }

        _process.WaitForExit();
        _process.Dispose();
        _folder.Delete(recursive: true);
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}

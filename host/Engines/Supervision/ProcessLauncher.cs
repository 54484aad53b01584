using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace ScriptedServe.Host.Engines.Supervision;

/// <summary>Starts engines as processes of this machine. They end with this process, however it ends (<c>--parent-pid</c>).</summary>
internal sealed class ProcessLauncher(EngineBinary binary) : IEngineLauncher
{
    public IEngineProcess Launch(EngineLaunch launch, Action<string> line)
    {
        var start = new ProcessStartInfo(binary.Dotnet)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        foreach (var argument in Arguments(launch))
        {
            start.ArgumentList.Add(argument);
        }

        RuntimeTuning.KeepFrom(start.Environment);
        try
        {
            return new EngineProcess(Process.Start(start)!, line);
        }
        catch (Exception e) when (e is Win32Exception or InvalidOperationException)
        {
            throw new EngineStartException($"{binary.Dotnet} {binary.Assembly} could not be started: {e.Message}", e);
        }
    }

    internal IEnumerable<string> Arguments(EngineLaunch launch)
    {
        List<string> arguments =
        [
            binary.Assembly,
            "--id", launch.Id,
            "--model", launch.ModelFolder,
            "--device", launch.Device,
            "--listen", $"unix:{launch.Listen}",
            "--threads", launch.Threads.ToString(CultureInfo.InvariantCulture),
            "--parent-pid", Environment.ProcessId.ToString(CultureInfo.InvariantCulture),
        ];
        foreach (var label in launch.Labels)
        {
            arguments.AddRange(["--label", label]);
        }

        if (launch.SecretFile is { } secretFile)
        {
            arguments.AddRange(["--cluster-secret-file", secretFile]);
        }

        foreach (var (name, value) in launch.Options)
        {
            arguments.AddRange(["--" + name, value]);
        }

        return arguments;
    }

    private sealed class EngineProcess : IEngineProcess
    {
        private readonly Process process;

        public EngineProcess(Process process, Action<string> line)
        {
            this.process = process;
            process.OutputDataReceived += (_, told) => Tell(told.Data);
            process.ErrorDataReceived += (_, told) => Tell(told.Data);
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            Exited = ExitAsync();

            void Tell(string? text)
            {
                if (!string.IsNullOrWhiteSpace(text))
                {
                    line(text);
                }
            }
        }

        public int Id => process.Id;

        public Task<int> Exited { get; }

        public void Terminate()
        {
            if (Exited.IsCompleted)
            {
                return;
            }

            if (OperatingSystem.IsWindows())
            {
                Kill();
            }
            else
            {
                // ESRCH, the only failure possible for an own child, means that it has ended.
                _ = NativeMethods.Kill(process.Id, NativeMethods.SigTerm);
            }
        }

        public void Kill()
        {
            try
            {
                process.Kill(entireProcessTree: true);
            }
            catch (Exception e) when (e is InvalidOperationException or Win32Exception)
            {
                // It has ended.
            }
        }

        public void Dispose() => process.Dispose();

        private async Task<int> ExitAsync()
        {
            await process.WaitForExitAsync(CancellationToken.None);
            return process.ExitCode;
        }
    }

    /// <summary>Of libc, what the base library does not offer.</summary>
    private static partial class NativeMethods
    {
        public const int SigTerm = 15;

        /// <summary>kill(2): 0, or -1 with errno ESRCH (no such process) or EPERM.</summary>
        [DllImport("libc", EntryPoint = "kill", SetLastError = true)]
        [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
        public static extern int Kill(int processId, int signal);
    }
}

using System.Globalization;

namespace ScriptedServe.KvTransport.Tests.Support;

/// <summary>Counts what the kernel holds for this process, which must do nothing else meanwhile.</summary>
internal static class Leaks
{
    /// <summary>Writes "FILES MAPPINGS" after a few rounds of everything, and again after many.</summary>
    public static async Task RunAsync()
    {
        await RoundsAsync(5);
        Console.WriteLine(Count());
        await RoundsAsync(60);
        Console.WriteLine(Count());
    }

    private static async Task RoundsAsync(int rounds)
    {
        for (var round = 0; round < rounds; round++)
        {
            await using var rig = new Rig();
            using var local = new TestPool(Pools.Small, 2).Filled(round);
            foreach (var transport in new[] { "shm", "tcp" })
            {
                var sender = rig.Sender(local, transport);
                for (var session = 0; session < 3; session++)
                {
                    var grant = rig.Endpoint.Grant("whole", [3, 4], 0, 16);
                    await TransferTests.SendAllAsync(sender, grant, [0, 1]);
                    var abandoned = rig.Endpoint.Grant("abandoned", [5, 6], 0, 16);
                    await using (var half = await sender.OpenAsync(abandoned.Address, default))
                    {
                        half.Send(0, [0, 1], 0, 16);
                    }

                    await grant.RevokeAsync().Soon();
                    await abandoned.RevokeAsync().Soon();
                    await Assert.ThrowsAsync<KvTransportException>(() => sender.OpenAsync(grant.Address, default));
                }
            }
        }
    }

    private static string Count()
    {
        var files = Directory.GetFileSystemEntries("/proc/self/fd").Select(Target).Count(target =>
            target.Contains("socket:", StringComparison.Ordinal) || target.Contains("memfd:scriptedserve-kv", StringComparison.Ordinal));
        var mappings = File.ReadLines("/proc/self/maps").Count(line => line.Contains("memfd:scriptedserve-kv", StringComparison.Ordinal));
        return string.Create(CultureInfo.InvariantCulture, $"{files} {mappings}");
    }

    private static string Target(string path)
    {
        try
        {
            return File.ResolveLinkTarget(path, returnFinalTarget: false)?.FullName ?? "";
        }
        catch (FileNotFoundException)
        {
            // The descriptor that listed the folder.
            return "";
        }
    }
}

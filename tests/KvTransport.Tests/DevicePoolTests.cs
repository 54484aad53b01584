using ScriptedServe.KvTransport.Tests.Support;

namespace ScriptedServe.KvTransport.Tests;

/// <summary>Pools in the memory of a device, on either end of a transport or both.</summary>
public class DevicePoolTests
{
    [Theory]
    [InlineData("tcp", true, true)]
    [InlineData("tcp", false, true)]
    [InlineData("tcp", true, false)]
    [InlineData("shm", true, false)]
    public async Task Any_range_arrives_exactly_through_staging_and_touches_nothing_else(string transport, bool fromDevice, bool toDevice)
    {
        for (var seed = 0; seed < 30; seed++)
        {
            var random = new Random(seed);
            var layout = seed % 2 == 0 ? Pools.Small : Pools.Large;
            using var source = fromDevice ? new DeviceTestPool(layout, 20, places: random.Next(1, 6)) : null;
            using var hostSource = new TestPool(layout, 20).Filled(seed);
            if (source is not null)
            {
                _ = source.Contents.Filled(seed);
            }

            var device = toDevice ? new DeviceTestPool(layout, 24, places: random.Next(1, 6)) : null;
            await using var rig = new Rig(layout, pages: 24, pool: device);
            var contents = device?.Contents ?? rig.Pool;
            var (begin, length, tokens) = (random.Next(3 * layout.PageTokens), random.Next(1, 12 * layout.PageTokens), layout.PageTokens);
            var end = begin + length;
            int[] Shuffled(int count, int of) => [.. Waiting.Range(of).OrderBy(_ => random.Next()).Take(count)];
            var (to, table) = (Shuffled(((end - 1) / tokens) - (begin / tokens) + 1, 24), Shuffled(((end - 1) / tokens) + 1, 20));
            var expected = Pools.Expected(contents, contents.Snapshot(), to, begin, hostSource, table, begin, end);
            var grant = rig.Endpoint.Grant("r", to, begin, end);
            await using (var session = await rig.Sender((KvPool?)source ?? hostSource, transport).OpenAsync(grant.Address, default).Soon())
            {
                Assert.Equal(transport, session.Transport);
                for (var layer = 0; layer < layout.Layers; layer++)
                {
                    session.Send(layer, table, begin, end);
                }

                await session.CommitAsync(begin, end, default).Soon();
            }

            Assert.True(grant.HasArrived);
            Assert.Equal(expected, contents.Snapshot());
            Assert.Equal((0, 0), (source?.Rented ?? 0, device?.Rented ?? 0));
            await grant.RevokeAsync().Soon();
        }
    }
}

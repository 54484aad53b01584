using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Scripting;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Host.Tests.Scripts;

public sealed class ShippedRouterTests
{
    public static TheoryData<string> Names => [.. Directory.GetFiles(TestPaths.InRepository("scripts"), "*.csx", SearchOption.AllDirectories)
        .Select(file => Path.ChangeExtension(Path.GetRelativePath(TestPaths.InRepository("scripts"), file), null))];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task It_compiles_without_a_warning_and_serves_one_engine_and_one_token(string name)
    {
        var fleet = FakeFleet.OfEngines("only");
        await using var harness = new CatalogHarness(fleet: fleet, defaultRouter: name.Split('/')[^1]);
        await harness.PutShipped(name);
        foreach (var length in (int[])[1, 2, 300])
        {
            Assert.Equal([1, 2, 3], await harness.Serve(new FakeRequest(length)));
        }

        Assert.Equal(Enumerable.Repeat("only.StartGenerate()", 3), fleet.Calls);
    }

    [Fact]
    public async Task Data_parallel_takes_the_least_loaded_engine() =>
        await Expect("data_parallel", 10, ["d.StartGenerate()"], fleet => fleet.Engines[0].InFlight = 1);

    [Fact]
    public async Task Round_robin_takes_each_engine_in_turn()
    {
        await using var harness = new CatalogHarness();
        await harness.PutShipped("round_robin");
        for (var i = 0; i < 3; i++)
        {
            await harness.Serve(spec: "round_robin");
        }

        Assert.Equal(["p.StartGenerate()", "d.StartGenerate()", "p.StartGenerate()"], harness.Fleet.Calls);
    }

    [Theory]
    [InlineData(10, 0, new[] { "d.PrepRecv(end: 9)", "p.RemoteSend(to: d, 0..9)", "d.StartGenerate(kv: 9)" })]
    [InlineData(10, 4, new[] { "d.PrepRecv(end: 9)", "p.RemoteSend(to: d, 4..9)", "d.StartGenerate(kv: 9)" })]
    [InlineData(10, 9, new[] { "d.PrepRecv(end: 9)", "d.StartGenerate(kv: 9)" })]
    [InlineData(2, 0, new[] { "d.PrepRecv(end: 1)", "p.RemoteSend(to: d, 0..1)", "d.StartGenerate(kv: 1)" })]
    [InlineData(1, 0, new[] { "d.StartGenerate()" })]
    public async Task Disaggregation_sends_what_the_decode_engine_lacks(int length, int cached, string[] calls) =>
        await Expect("pd_disagg", length, calls, fleet => fleet.Engines[1].Cached = cached);

    [Theory]
    [InlineData(100, 0, null, new[] { "d.PrepRecv(end: 90)", "p.RemoteSend(to: d, 0..90)", "d.StartGenerate(kv: 90)" })]
    [InlineData(100, 95, null, new[] { "d.PrepRecv(end: 90)", "d.StartGenerate(kv: 90)" })]
    [InlineData(100, 0, "0.25", new[] { "d.PrepRecv(end: 75)", "p.RemoteSend(to: d, 0..75)", "d.StartGenerate(kv: 75)" })]
    [InlineData(100, 0, "0", new[] { "d.PrepRecv(end: 99)", "p.RemoteSend(to: d, 0..99)", "d.StartGenerate(kv: 99)" })]
    [InlineData(100, 0, "1", new[] { "d.StartGenerate()" })]
    [InlineData(1, 0, null, new[] { "d.StartGenerate()" })]
    public async Task Balanced_disaggregation_leaves_the_last_share_to_the_decode_engine(int length, int cached, string? share, string[] calls) =>
        await Expect("balanced_pd", length, calls, fleet => fleet.Engines[1].Cached = cached, share is null ? null : new() { ["decode_share"] = share });

    [Theory]
    [InlineData(200, 128, 0, new[] { "d.PrepRecv(end: 128)", "p.RemoteSend(to: d, 0..128)", "d.StartGenerate(kv: 128)" })]
    [InlineData(200, 200, 0, new[] { "d.PrepRecv(end: 199)", "p.RemoteSend(to: d, 0..199)", "d.StartGenerate(kv: 199)" })]
    [InlineData(200, 128, 32, new[] { "d.PrepRecv(end: 128)", "p.RemoteSend(to: d, 32..128)", "d.StartGenerate(kv: 128)" })]
    [InlineData(200, 128, 100, new[] { "d.StartGenerate()" })]
    [InlineData(200, 16, 0, new[] { "d.StartGenerate()" })]
    [InlineData(200, 0, 0, new[] { "d.StartGenerate()" })]
    [InlineData(1, 1, 0, new[] { "d.StartGenerate()" })]
    public async Task Context_migration_moves_the_cached_context_when_it_is_worth_it(int length, int held, int there, string[] calls) =>
        await Expect("context_migration", length, calls, fleet =>
        {
            (fleet.Engines[0].Cached, fleet.Engines[1].Cached) = (held, there);
            fleet.Engines[0].InFlight = 5;
        });

    [Fact]
    public async Task Context_migration_generates_where_the_context_is_if_that_engine_is_free() =>
        await Expect("context_migration", 200, ["p.StartGenerate()"], fleet =>
        {
            fleet.Engines[0].Cached = 150;
            fleet.Engines[1].InFlight = 5;
        });

    [Fact]
    public async Task Dynamic_follows_the_traffic()
    {
        var time = new FakeTimeProvider();
        await using var harness = new CatalogHarness(time: time);
        harness.Traffic.Rate = 5;
        harness.Traffic.Prompt = new Distribution(100, 2000, 2000, 4000, 4000);
        await harness.PutShipped("dynamic");
        await harness.Logged("policy: prefill and decode apart");
        await harness.Serve(spec: "dynamic");
        Assert.Equal(["d.PrepRecv(end: 9)", "p.RemoteSend(to: d, 0..9)", "d.StartGenerate(kv: 9)"], harness.Fleet.Calls);

        harness.Traffic.Rate = 0.5;
        for (var heard = harness.Logged("policy: data parallel"); !heard.IsCompleted; await Task.WhenAny(heard, Task.Delay(TimeSpan.FromMilliseconds(10), TimeProvider.System)))
        {
            time.Advance(TimeSpan.FromSeconds(1));
        }

        harness.Fleet.Calls.Clear();
        await harness.Serve(spec: "dynamic");
        Assert.Equal(["p.StartGenerate()"], harness.Fleet.Calls);
    }

    private static async Task Expect(string name, int length, string[] calls, Action<FakeFleet> arrange, Dictionary<string, string>? options = null)
    {
        await using var harness = new CatalogHarness();
        arrange(harness.Fleet);
        await harness.PutShipped(name, options);
        Assert.Equal([1, 2, 3], await harness.Serve(new FakeRequest(length), name));
        Assert.Equal(calls, harness.Fleet.Calls);
    }
}

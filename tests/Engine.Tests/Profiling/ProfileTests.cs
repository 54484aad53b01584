using System.CommandLine;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Contracts;
using ScriptedServe.Engine.Compute.Synthetic;
using ScriptedServe.Engine.Options;
using ScriptedServe.Engine.Profiling;
using ScriptedServe.Engine.Tests.Processes;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Engine.Tests.Profiling;

public sealed class ProfileTests : IDisposable
{
    private const string Model = "synthetic:vocab=512,context=2000,layers=2,step-us=4000,token-us=10";

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("scriptedserve-test-");
    private readonly FakeTimeProvider _time = new();

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task Times_are_those_of_the_steps_in_every_cell_of_the_grid()
    {
        var profile = await ProfileAsync("--budget-seconds 3600");
        Assert.Empty(profile.Skipped);
        Assert.Equal([(32, 0), (32, 256), (32, 1024), (128, 0), (128, 256), (128, 1024), (512, 0), (512, 256), (512, 1024)], profile.Prefill.Select(cell => (cell.ChunkTokens, cell.ContextTokens)));
        Assert.Equal(4 * 3, profile.Decode.Select(cell => (cell.Sequences, cell.ContextTokens)).Distinct().Count());
        Assert.All(profile.Prefill, cell => Assert.Equal(4 + (0.01 * cell.ChunkTokens), cell.StepMs, 1e-6));
        Assert.All(profile.Prefill, cell => Assert.Equal(cell.ChunkTokens / (4e-3 + (1e-5 * cell.ChunkTokens)), cell.TokensPerSecond, 1e-3));
        Assert.All(profile.Decode, cell => Assert.Equal(4 + (0.01 * cell.Sequences), cell.StepMs, 1e-6));
        Assert.Equal([("shm", 16), ("shm", 256), ("tcp", 16), ("tcp", 256)], profile.KvCopy.Select(copy => (copy.Transport, copy.Tokens)));
        Assert.All(profile.KvCopy, copy => Assert.Equal(copy.Tokens * profile.Model.KvBytesPerToken, copy.Bytes));
        Assert.All(profile.KvCopy, copy => Assert.True(double.IsFinite(copy.GigabytesPerSecond)));
        Assert.Equal(("synthetic", 2000, 2, "f16"), (profile.Model.Id, profile.Model.ContextLength, profile.Model.Layers, profile.Settings.KvDtype));
    }

    [Fact]
    public async Task It_ends_when_its_time_is_up_and_says_what_is_missing()
    {
        // A step of a chunk of 512 takes 9 ms: the clock moves by steps alone.
        var begun = _time.GetTimestamp();
        var profile = await ProfileAsync("--budget-seconds 1 --chunks 512 --batches 1", Model.Replace("step-us=4000", "step-us=400000", StringComparison.Ordinal));
        Assert.InRange(_time.GetElapsedTime(begun).TotalSeconds, 1, 1.5);
        Assert.Equal(6, profile.Prefill.Count + profile.Decode.Count + profile.Skipped.Count);
        Assert.NotEmpty(profile.Prefill);
        Assert.All(profile.Prefill, cell => Assert.Equal(405.12, cell.StepMs, 1e-6));
        Assert.Contains(profile.Skipped, why => why.StartsWith("prefill of 512 tokens after 1024: time was up (--budget-seconds)", StringComparison.Ordinal));
    }

    [Fact]
    public async Task What_does_not_fit_in_the_KV_memory_is_skipped_and_named()
    {
        var profile = await ProfileAsync("--kv-memory 256KiB --batches 1,64 --contexts 0,1000 --chunks 32");
        Assert.Equal([(1, 0), (1, 1000), (64, 0)], profile.Decode.Select(cell => (cell.Sequences, cell.ContextTokens)));
        Assert.StartsWith("decode of 64 sequences after 1000 tokens each: its KV takes 3 MiB", Assert.Single(profile.Skipped), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nonsense_is_refused_before_anything_is_measured()
    {
        var (options, errors) = Read("--out /no/such/folder/x.json --budget-seconds 0 --chunks 16,x --contexts -1 --batches 0");
        Assert.Null(options);
        foreach (var words in new[] { "--out '/no/such/folder/x.json': there is no folder /no/such/folder", "--budget-seconds '0'", "--chunks 'x'", "--contexts '-1'", "--batches '0'" })
        {
            Assert.Single(errors, error => error.StartsWith(words, StringComparison.Ordinal));
        }

        var beyond = await Assert.ThrowsAsync<ArgumentException>(() => ProfileAsync("--contexts 100,2000 --chunks 600 --batches 65"));
        foreach (var words in new[] { "--contexts 2000 leaves no token of the model's context of 2000", "--chunks 600 is more than a step computes (--max-batch-tokens 512)", "--batches 65 is more" })
        {
            Assert.Contains(words, beyond.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task The_file_is_read_as_it_was_written_and_others_are_told_apart()
    {
        var profile = await ProfileAsync("");
        var json = profile.ToJson();
        var again = EngineProfile.FromJson(json);
        Assert.Equal(json, again.ToJson());
        Assert.Equal(profile.Prefill, again.Prefill);
        Assert.Equal(profile.KvCopy, again.KvCopy);
        Assert.Equal((profile.Model, profile.Machine, profile.Settings, profile.Created), (again.Model, again.Machine, again.Settings, again.Created));

        var names = JsonNode.Parse(json)!;
        Assert.Equal("scriptedserve.engine-profile", (string?)names["schema"]);
        Assert.Equal(4.32, (double)names["prefill"]![0]!["step_ms"]!, 1e-6);
        names["version"] = 2;
        Assert.Contains("version '2'", Assert.Throws<FormatException>(() => EngineProfile.FromJson(names.ToJsonString())).Message, StringComparison.Ordinal);
        names["version"] = 1;
        names.AsObject().Remove("decode");
        Assert.Contains("decode", Assert.Throws<FormatException>(() => EngineProfile.FromJson(names.ToJsonString())).Message, StringComparison.Ordinal);
        Assert.Throws<FormatException>(() => EngineProfile.FromJson("[]"));
        Assert.Throws<FormatException>(() => EngineProfile.FromJson("no JSON"));
    }

    [Fact]
    public async Task The_command_measures_the_built_in_model_and_writes_the_file()
    {
        var path = Path.Combine(_folder.FullName, "profile.json");
        var (exitCode, errors) = await EngineUnderTest.RunAsync("profile", "--out", path, "--budget-seconds", "1", "--contexts", "0,100", "--chunks", "32", "--batches", "1,2", "--threads", "1");
        Assert.Equal((0, ""), (exitCode, errors));
        var profile = EngineProfile.FromJson(await File.ReadAllTextAsync(path));
        Assert.Equal(("storyteller", 1), (profile.Model.Id, profile.Settings.Threads));
        Assert.Equal(2 + 4 + 6, profile.Prefill.Count + profile.Decode.Count + profile.KvCopy.Count + profile.Skipped.Count);
        Assert.All(profile.Prefill, cell => Assert.True(cell.TokensPerSecond > 0));

        (exitCode, errors) = await EngineUnderTest.RunAsync("profile", "--chunks", "many", "--page-tokens", "0", "--listen", "x");
        Assert.Equal(2, exitCode);
        Assert.Contains("--page-tokens '0'", errors, StringComparison.Ordinal);
    }

    private Task<EngineProfile> ProfileAsync(string arguments, string model = Model)
    {
        var parsed = Parse($"--model {model} --kv-dtype f16 {arguments}");
        var (options, errors) = EngineOptions.Read(
            parsed, _ => null, new ConfigurationBuilder().Build(), TestPaths.InRepository("engine", "models"), () => "00");
        Assert.Empty(errors);
        var (profile, _) = ProfileOptions.Read(parsed, _ => null, new ConfigurationBuilder().Build());
        var runner = new SyntheticModelRunner(
            SyntheticModel.Parse(options!.Model), options.PageTokens, options.Limits.MaxBatchTokens, _time.Advance, options.KvDataType!.Value);
        return Profiler.RunAsync(runner, options, profile!, _time);
    }

    private static (ProfileOptions? Options, IReadOnlyList<string> Errors) Read(string arguments) =>
        ProfileOptions.Read(Parse(arguments), _ => null, new ConfigurationBuilder().Build());

    private static ParseResult Parse(string arguments)
    {
        var root = new RootCommand();
        foreach (var setting in ProfileOptions.Settings)
        {
            root.Options.Add(setting.Option);
        }

        return root.Parse(arguments);
    }
}

using Microsoft.Extensions.Configuration;
using ScriptedServe.Host.Commands;
using ScriptedServe.Host.Options;

namespace ScriptedServe.Host.Tests.Admin;

public sealed class OptionsTests
{
    [Fact]
    public async Task Without_anything_set_it_serves_two_engines_on_loopback()
    {
        var (code, options, _) = await RunAsync([]);

        Assert.Equal(0, code);
        Assert.Equal((2, 4, "127.0.0.1", 8000, "data_parallel"), (options!.Engines, options.Threads, options.Host, options.Port, options.Router));
    }

    [Fact]
    public async Task The_command_line_beats_the_environment_which_beats_the_file()
    {
        var (_, options, _) = await RunAsync(
            ["serve", "--port", "1", "--weights", "int8", "--weight-cache", "off"],
            new() { ["SCRIPTEDSERVE_PORT"] = "2", ["SCRIPTEDSERVE_KV_MEMORY"] = "64MiB" },
            new() { ["ScriptedServe:Port"] = "3", ["ScriptedServe:KvMemory"] = "1GiB", ["ScriptedServe:Threads"] = "7" });

        Assert.Equal((1, "64MiB", 7), (options!.Port, options.KvMemory, options.Threads));
        Assert.Equal([("kv-memory", "64MiB"), ("weights", "int8"), ("weight-cache", "off")], options.PassedOn);
    }

    [Fact]
    public async Task Engines_come_from_a_comma_list_in_the_environment_and_from_a_list_in_the_file()
    {
        var (_, fromEnvironment, _) = await RunAsync([], new() { ["SCRIPTEDSERVE_ENGINE"] = "http://a:1, http://b:2" });
        var (_, fromFile, _) = await RunAsync([], null, new() { ["ScriptedServe:Engine:0"] = "http://a:1", ["ScriptedServe:Engine:1"] = "unix:/run/b" });

        Assert.Equal(["http://a:1", "http://b:2"], fromEnvironment!.EngineUrls);
        Assert.Equal(["http://a:1", "unix:/run/b"], fromFile!.EngineUrls);
        Assert.Equal(0, fromFile.Engines);
    }

    [Fact]
    public async Task Every_bad_option_is_told_with_where_it_was_set_and_nothing_starts()
    {
        var (code, options, errors) = await RunAsync(
            ["--port", "70000", "--device", "cpu,gpu", "--scripts", "/no/such/folder", "--engine", "ftp://x", "--router", "Mine", "--kv-dtype", "fp8", "--weights", "q4"],
            new() { ["SCRIPTEDSERVE_KV_MEMORY"] = "lots", ["SCRIPTEDSERVE_HOST"] = "0.0.0.0" },
            new() { ["ScriptedServe:CallTimeout"] = "-1" });

        Assert.Equal(2, code);
        Assert.Null(options);
        Assert.Contains("--port: '70000' is not a whole number from 0 to 65535.", errors, StringComparison.Ordinal);
        Assert.Contains("--device: 'gpu' is not cpu or cuda:N.", errors, StringComparison.Ordinal);
        Assert.Contains("--scripts: there is no folder '/no/such/folder'", errors, StringComparison.Ordinal);
        Assert.Contains("--kv-dtype: 'fp8' is not f32, bf16 or f16.", errors, StringComparison.Ordinal);
        Assert.Contains("--router: 'Mine' is not a router's name", errors, StringComparison.Ordinal);
        Assert.Contains("--engine: 'ftp://x' is not an engine address", errors, StringComparison.Ordinal);
        Assert.Contains("--weights: 'q4' is not auto, f32, bf16, int8 or fp8.", errors, StringComparison.Ordinal);
        Assert.Contains("SCRIPTEDSERVE_KV_MEMORY: 'lots' is not a size", errors, StringComparison.Ordinal);
        Assert.Contains("--host 0.0.0.0 can be reached from other machines", errors, StringComparison.Ordinal);
        Assert.Contains("ScriptedServe:CallTimeout in appsettings.json: '-1' is not a number of seconds", errors, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0.0.0.0", null, false)]
    [InlineData("*", null, false)]
    [InlineData("192.0.2.1", "t", true)]
    [InlineData("127.0.0.2", null, true)]
    [InlineData("localhost", null, true)]
    [InlineData("::1", null, true)]
    public async Task An_address_others_can_reach_needs_an_admin_token(string host, string? token, bool starts)
    {
        var (code, _, _) = await RunAsync(token is null ? ["--host", host] : ["--host", host, "--admin-token", token]);

        Assert.Equal(starts ? 0 : 2, code);
    }

    [Fact]
    public async Task An_unknown_option_and_a_missing_argument_are_refused_with_2()
    {
        Assert.Equal(2, (await RunAsync(["--prot", "1"])).Code);
        Assert.Equal(2, (await RunAsync(["push"])).Code);
    }

    [Fact]
    public async Task A_client_command_without_a_host_says_so_and_fails()
    {
        var (code, _, errors) = await RunAsync(["engines", "--url", "http://127.0.0.1:1"]);

        Assert.Equal(1, code);
        Assert.StartsWith("No host answers at http://127.0.0.1:1/", errors, StringComparison.Ordinal);
    }

    private static async Task<(int Code, ServeOptions? Options, string Errors)> RunAsync(
        string[] args, Dictionary<string, string>? environment = null, Dictionary<string, string?>? file = null)
    {
        ServeOptions? served = null;
        using var errors = new StringWriter();
        var line = new CommandLine(
            (options, _) =>
            {
                served = options;
                return Task.FromResult(0);
            },
            name => environment?.GetValueOrDefault(name),
            new ConfigurationBuilder().AddInMemoryCollection(file ?? []).Build(),
            cores: 8,
            TextWriter.Null,
            errors,
            TimeProvider.System,
            new Terminal(hasColours: false));
        return (await line.RunAsync(args), served, errors.ToString());
    }
}

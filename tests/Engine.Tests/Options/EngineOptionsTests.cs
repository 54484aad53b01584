using System.CommandLine;
using Microsoft.Extensions.Configuration;
using ScriptedServe.Contracts;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.Engine.Options;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Engine.Tests.Options;

public sealed class EngineOptionsTests
{
    private static readonly string Models = TestPaths.InRepository("engine", "models");

    [Fact]
    public void The_command_line_wins_over_the_environment_and_that_over_the_file()
    {
        var (options, errors) = Read(
            "--page-tokens 8 --label prefill --label fast --id me --listen unix:/tmp/x.sock",
            new() { ["SCRIPTEDSERVE_PAGE_TOKENS"] = "4", ["SCRIPTEDSERVE_MAX_SEQUENCES"] = "7" },
            new() { ["ScriptedServe:MaxSequences"] = "9", ["ScriptedServe:KvMemory"] = "1.5MiB" });
        Assert.Empty(errors);
        Assert.Equal((8, 7, 3L << 19, "me"), (options!.PageTokens, options.Limits.MaxSequences, options.KvMemoryBytes, options.EngineId));
        Assert.Equal(["prefill", "fast"], options.Labels);
        Assert.Equal("127.0.0.1:0", options.KvListen.ToString());
        Assert.Equal(WeightFormat.Auto, options.Weights);
        Assert.Equal(WeightFormat.Int8, Read("--weights int8").Options!.Weights);
        Assert.Equal((ManyRowProducts.Own, ManyRowProducts.CublasLt), (options.CudaGemm, Read("--cuda-gemm cublaslt").Options!.CudaGemm));
        Assert.Equal(ManyRowProducts.Hopper, Read("--cuda-gemm wgmma").Options!.CudaGemm);
        Assert.Contains("own, wgmma or cublaslt", Assert.Single(Read("--cuda-gemm mine").Errors), StringComparison.Ordinal);
        Assert.Equal(WeightFormat.Float8, Read("--weights fp8 --device cuda:1").Options!.Weights);
        Assert.Contains("--device cuda:N", Assert.Single(Read("--weights fp8").Errors), StringComparison.Ordinal);
        Assert.True(Directory.Exists(options.Model));
    }

    [Fact]
    public void Every_error_is_told_with_the_option_its_value_and_the_limit()
    {
        var (options, errors) = Read(
            "--page-tokens 0 --kv-memory lots --model no-such --device gpu --listen ftp://x --max-wait 0 --threads many --kv-transport post --kv-dtype int4 --weights int4",
            new() { ["SCRIPTEDSERVE_MAX_BATCH_TOKENS"] = "3" });
        Assert.Null(options);
        foreach (var expected in new[]
        {
            "--page-tokens '0': a whole number from 1 to 4096", "--kv-memory 'lots'", "--model 'no-such'", "--device 'gpu'", "--listen 'ftp://x'",
            "--max-wait '0'", "--threads 'many'", "--kv-transport 'post'", "--kv-dtype 'int4': f32, bf16, f16 are known", "--weights 'int4': auto, f32, bf16, int8 or fp8", "--max-batch-tokens 3 is less than --max-sequences 64",
        })
        {
            Assert.Single(errors, error => error.StartsWith(expected, StringComparison.Ordinal));
        }

        Assert.Equal(11, errors.Count);
    }

    [Fact]
    public void Threads_and_processors_are_divided_among_ranks()
    {
        var options = Read("--tensor-parallel 3 --threads 6").Options!;
        Assert.Equal((3, 6), (options.TensorParallel, options.Threads));
        Assert.Equal(0, Read("--tensor-parallel 3").Options!.Threads % 3);
        Assert.Equal(4, Read("--tensor-parallel 2 --cpus 0-3").Options!.Threads);
        foreach (var (arguments, expected) in new[]
        {
            ("--tensor-parallel 2 --threads 3", "--threads 3 cannot be divided among 2 ranks (--tensor-parallel)"),
            ("--tensor-parallel 2 --cpus 0-2", "the 3 processors of --cpus cannot be divided among 2 ranks (--tensor-parallel)"),
            ("--tensor-parallel 0", "--tensor-parallel '0': a whole number from 1 to 64"),
            ("--tensor-parallel 2 --model synthetic", "--tensor-parallel 2: the synthetic model has no weights to divide"),
        })
        {
            Assert.StartsWith(expected, Assert.Single(Read(arguments).Errors), StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("", "cpu", null)]
    [InlineData("--device cuda", "cuda:0", 0)]
    [InlineData("--device cuda:07", "cuda:7", 7)]
    public void A_device_is_the_CPU_or_a_GPU_by_its_number(string arguments, string device, int? ordinal)
    {
        var (options, errors) = Read(arguments + " --cuda-libs / --cuda-libs /tmp");
        Assert.Empty(errors);
        Assert.Equal((device, ordinal), (options!.Device, options.CudaOrdinal));
        Assert.Equal(["/", "/tmp"], options.CudaLibraries);
        Assert.StartsWith("--device 'cuda:x': a whole number from 0 to 999", Assert.Single(Read("--device cuda:x").Errors), StringComparison.Ordinal);
        Assert.StartsWith("--cuda-libs '/no/such': there is no such folder", Assert.Single(Read("--cuda-libs /no/such").Errors), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "/home/me", null, "/home/me/.cache/scriptedserve/weights")]
    [InlineData("", "/home/me", "/var/cache/me", "/var/cache/me/scriptedserve/weights")]
    [InlineData("", "/home/me", "not/rooted", "/home/me/.cache/scriptedserve/weights")]
    [InlineData("", null, null, null)]
    [InlineData("--weight-cache off", "/home/me", null, null)]
    [InlineData("--weight-cache /srv/weights", "/home/me", null, "/srv/weights")]
    public void Weights_are_kept_in_the_users_cache_unless_told_otherwise(string arguments, string? home, string? cache, string? expected)
    {
        var environment = new Dictionary<string, string>();
        foreach (var (name, value) in new[] { ("HOME", home), ("XDG_CACHE_HOME", cache) })
        {
            if (value is not null)
            {
                environment[name] = value;
            }
        }

        var (options, errors) = Read(arguments, environment);
        Assert.Empty(errors);
        Assert.Equal((expected, 64L << 30), (options!.WeightCache, options.WeightCacheLimitBytes));
        Assert.Equal(3L << 29, Read("--weight-cache-limit 1.5GiB").Options!.WeightCacheLimitBytes);
    }

    [Fact]
    public void A_synthetic_model_takes_the_place_of_a_folder()
    {
        var (options, errors) = Read("--model synthetic:vocab=600,layers=3,step-us=2000,token-us=5");
        Assert.Empty(errors);
        Assert.Equal(new SyntheticModel { Vocab = 600, Layers = 3, StepUs = 2000, TokenUs = 5 }, SyntheticModel.Parse(options!.Model));
        Assert.Empty(Read("--model synthetic").Errors);

        var error = Assert.Single(Read("--model synthetic:vocab=9,layers=x,layers=2,speed=1,context=4,context=4").Errors);
        foreach (var words in new[] { "vocab=9: a whole number from 512 to 262144", "layers=x: a whole number from 1 to 256", "layers is given twice", "'speed=1' is not one of vocab=N, context=N", "context is given twice" })
        {
            Assert.Contains(words, error, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("--listen http://*:0")]
    [InlineData("--listen http://127.0.0.1:0 --kv-listen 0.0.0.0:0")]
    public void Listening_everywhere_needs_a_name_for_others_to_use(string arguments)
    {
        Assert.Contains(Read(arguments).Errors, error => error.StartsWith("--kv-advertise", StringComparison.Ordinal));
        Assert.Empty(Read(arguments + " --kv-advertise me.example").Errors);
    }

    [Fact]
    public void Listed_processors_say_how_many_threads_there_are()
    {
        var (options, errors) = Read("--cpus 1,4-6");
        Assert.Empty(errors);
        Assert.Equal([1, 4, 5, 6], options!.Processors);
        Assert.Equal(4, options.Threads);
        Assert.Empty(Read("--threads 3").Options!.Processors);
    }

    [Theory]
    [InlineData("--cpus 0,1 --threads 3", "--threads 3 differs from the 2 processors of --cpus")]
    [InlineData("--cpus 0,x", "--cpus '0,x': numbers from 0 to 1023")]
    [InlineData("--cpus 0-2-4", "--cpus '0-2-4': numbers from 0 to 1023")]
    [InlineData("--cpus 3-1", "--cpus '3-1': the range 3-1 ends before it begins")]
    [InlineData("--cpus 0-3,2", "--cpus '0-3,2': processor 2 is listed twice")]
    [InlineData("--cpus 0-1023", "--cpus '0-1023': 1024 processors are listed, at most 256")]
    public void Processors_that_cannot_be_are_refused(string arguments, string expected) =>
        Assert.StartsWith(expected, Assert.Single(Read(arguments).Errors), StringComparison.Ordinal);

    [Fact]
    public void Engines_that_start_together_agree_on_one_secret_of_this_user_alone()
    {
        var folder = Directory.CreateTempSubdirectory("scriptedserve-test-");
        try
        {
            var path = Path.Combine(folder.FullName, "new", "cluster-secret");
            var secrets = new ClusterSecret[8];
            Parallel.For(0, secrets.Length, index => secrets[index] = ClusterSecret.ReadOrCreate(path));
            Assert.Single(secrets.Select(secret => secret.BearerToken).Distinct());
            Assert.Equal([path], Directory.GetFiles(Path.GetDirectoryName(path)!));
            if (!OperatingSystem.IsWindows())
            {
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
            }

            File.WriteAllText(path, "short\n");
            Assert.Contains("5 bytes", Assert.Throws<FormatException>(() => ClusterSecret.Read(path)).Message, StringComparison.Ordinal);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static (EngineOptions? Options, IReadOnlyList<string> Errors) Read(
        string arguments, Dictionary<string, string>? environment = null, Dictionary<string, string?>? file = null)
    {
        var root = new RootCommand();
        foreach (var setting in EngineSettings.All)
        {
            root.Options.Add(setting.Option);
        }

        return EngineOptions.Read(
            root.Parse(arguments),
            name => environment?.GetValueOrDefault(name),
            new ConfigurationBuilder().AddInMemoryCollection(file ?? []).Build(),
            Models,
            () => "00");
    }
}

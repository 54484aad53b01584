using Microsoft.Extensions.Configuration;
using ScriptedServe.Host.Commands;
using ScriptedServe.Host.Options;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Host.Tests.Admin;

public sealed class ServeCommandTests
{
    [Fact]
    public async Task A_cluster_secret_that_cannot_be_used_is_told_in_a_line_and_refused_with_2()
    {
        var folder = Directory.CreateTempSubdirectory("scriptedserve-").FullName;
        try
        {
            var path = Path.Combine(folder, "secret");
            await File.WriteAllTextAsync(path, "short");
            using var errors = new StringWriter();
            var options = new ServeOptions
            {
                Model = TestPaths.InRepository("engine", "models", "storyteller"),
                Engines = 0,
                EngineUrls = ["http://127.0.0.1:1"],
                ClusterSecretFile = path,
                Scripts = folder,
                Port = 0,
            };
            var code = await ServeCommand.RunAsync(options, new ConfigurationBuilder().Build(), TimeProvider.System, TextWriter.Null, errors);

            Assert.Equal(2, code);
            Assert.Equal(
                $"error: The cluster's secret cannot be used (--cluster-secret-file, {path}): {path} holds 5 bytes; a cluster's secret has at least 16.",
                errors.ToString().TrimEnd());
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}

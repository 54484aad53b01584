using System.Text;
using System.Text.Json;
using System.Threading.Channels;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// The compiler's process: a line of JSON on standard input is a <see cref="CompilerSetup"/>, each that follows a <see cref="CompilerRequest"/>, answered in order by a line of JSON on
/// standard output. It ends with its input, so that it never outlives the host.
/// </summary>
internal static class CompilerWorker
{
    /// <summary>The host's only argument when it is started as this.</summary>
    public const string Argument = "compiler-process";

    /// <returns>Completes when the input ends, whatever is under way then.</returns>
    public static async Task RunAsync(Stream input, Stream output)
    {
        using var reader = new StreamReader(input, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false));
        if (await reader.ReadLineAsync() is not { } first)
        {
            return;
        }

        var setup = JsonSerializer.Deserialize(first, CompilerJson.Default.CompilerSetup)!;
        var compiler = new ScriptCompiler(new ScriptFolder(setup.Folder), setup.Limits, new ScriptApiRules(setup.Rules));
        var requests = Channel.CreateUnbounded<string>();
        _ = Task.Run(() => AnswerAsync(compiler, requests.Reader, output));
        while (await reader.ReadLineAsync() is { } line)
        {
            requests.Writer.TryWrite(line);
        }
    }

    private static async Task AnswerAsync(ScriptCompiler compiler, ChannelReader<string> requests, Stream output)
    {
        await foreach (var line in requests.ReadAllAsync())
        {
            var answer = Answer(compiler, JsonSerializer.Deserialize(line, CompilerJson.Default.CompilerRequest)!);
            await output.WriteAsync((byte[])[.. JsonSerializer.SerializeToUtf8Bytes(answer, CompilerJson.Default.CompilerAnswer), (byte)'\n']);
            await output.FlushAsync();
        }
    }

    private static CompilerAnswer Answer(ScriptCompiler compiler, CompilerRequest request)
    {
        try
        {
            if (request.Text is { } text)
            {
                return new CompilerAnswer { Source = compiler.Read(request.Name, text) };
            }

            var compiled = compiler.Compile(request.Source!, request.Name, CancellationToken.None);
            return new CompilerAnswer
            {
                Assembly = compiled.Assembly,
                Symbols = compiled.Symbols,
                FactoryType = compiled.FactoryType,
                FactoryMethod = compiled.FactoryMethod,
                HasShortTurns = compiled.HasShortTurns,
                Diagnostics = compiled.Diagnostics,
            };
        }
        catch (Exception e)
        {
            // A fault of the compiler's with one text, which must not keep it from the next.
            return new CompilerAnswer { Failure = $"the compiler failed with {e.GetType().Name}: {e.Message}" };
        }
    }
}

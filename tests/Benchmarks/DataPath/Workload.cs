using System.Globalization;
using System.Text;
using ScriptedServe.Contracts;
using ScriptedServe.Host.Models;

namespace ScriptedServe.DataPathBenchmarks;

/// <summary>The one request that all layers serve: a chat turn of about 128 prompt tokens, answered with 64 chunks of a token each.</summary>
internal static class Workload
{
    public const int Chunks = 64;

    /// <summary>Of the model's vocabulary: a token each.</summary>
    public const int PromptWords = 120;

    /// <summary>Of the runtime: what comes on a socket is dealt with on the thread that waited for it.</summary>
    public const string InlineSockets = "DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS";

    /// <summary>The root of the clone that this program was built in.</summary>
    public static string Repository()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "ScriptedServe.sln")))
        {
            folder = folder.Parent ?? throw new InvalidOperationException($"{AppContext.BaseDirectory} is not in a clone");
        }

        return folder.FullName;
    }

    /// <summary>The milliseconds between tokens travel in the request's seed: both faces of the stub find them there.</summary>
    public static string Body(int paceMs)
    {
        var prompt = string.Concat(Enumerable.Range(0, PromptWords).Select(word => " " + SyntheticText.Word(SyntheticModel.ByteTokens + word)));
        return string.Create(
            CultureInfo.InvariantCulture,
            $$"""{"model":"{{SyntheticModel.Name}}","stream":true,"max_tokens":{{Chunks}},"seed":{{paceMs}},"messages":[{"role":"user","content":"{{prompt}}"}]}""");
    }

    /// <summary>A whole HTTP/1.1 request.</summary>
    public static byte[] Request(int paceMs, string? router)
    {
        var body = Body(paceMs);
        var header = router is null ? "" : $"X-Router: {router}\r\n";
        return Encoding.ASCII.GetBytes(string.Create(
            CultureInfo.InvariantCulture,
            $"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{header}Content-Length: {body.Length}\r\n\r\n{body}"));
    }
}

using ScriptedServe.Host.Text;
using ScriptedServe.TokenizerBenchmark;

// dotnet run -c Release --project tests/Benchmarks/Tokenizers -- FOLDER...
// How long each tokenizer (a model's folder, or a tokenizer.json) takes for 1 MiB of text: the first time, again, and for texts that are hard for it.
var time = TimeProvider.System;
var mixed = Texts.Mixed(1 << 20);
Console.WriteLine($"{"ms for 1 MiB",-40} {"load",6} {"first",6} {"again",6} {"tokens",8}   hardest");
foreach (var path in args)
{
    var start = time.GetTimestamp();
    var tokenizer = HuggingFaceTokenizer.Load(path);
    var load = time.GetElapsedTime(start).TotalMilliseconds;
    var first = Measure(mixed);
    var again = Enumerable.Range(0, 5).Min(_ => Measure(mixed));
    var hardest = Texts.Hard(1 << 20).Select(text => (text.Name, Ms: Measure(text.Text))).MaxBy(text => text.Ms);
    var tokens = tokenizer.Encode(mixed, addSpecialTokens: false).Length;
    Console.WriteLine($"{Shorten(path),-40} {load,6:F0} {first,6:F0} {again,6:F0} {tokens,8}   {hardest.Name}: {hardest.Ms:F0}");

    double Measure(string text)
    {
        var from = time.GetTimestamp();
        _ = tokenizer.Encode(text, addSpecialTokens: false);
        return time.GetElapsedTime(from).TotalMilliseconds;
    }
}

static string Shorten(string path) => path.Length <= 40 ? path : "..." + path[^37..];

using System.Text;

namespace ScriptedServe.TokenizerBenchmark;

/// <summary>Texts to encode, the same every time.</summary>
internal static class Texts
{
    private const string Code = "def total(items):\n    return sum(item.price * 2 for item in items)  # fold\n\n\tif (a != b) { printf(\"%d\\n\", a); }\n";

    private static readonly string[] Passages =
    [
        Code, "日本語の文章をここに置きます。漢字とかなが混ざっています。", "Москва столица России и большой город на реке. ", "هذا نص عربي طويل للتجربة. ",
        "ภาษาไทยเป็นภาษาที่ไม่มีช่องว่าง", "한국어 문장은 띄어쓰기가 있습니다. ", "3.14 1,000 2026-11-22 0x1F ", "😀👍🏽👨‍👩‍👧 é ü ñ ", "    \t\t  \n\n", "https://example.com/a?b=1&c=%20 foo@bar.com ",
    ];

    /// <summary>Mostly words of letters at random, a third of them from a small stock as in prose; code and other scripts between.</summary>
    public static string Mixed(int bytes)
    {
        var random = new Random(5);
        var stock = Enumerable.Range(0, 5000).Select(_ => Word(random)).ToArray();
        var text = new StringBuilder();
        for (var written = 0; written < bytes;)
        {
            var piece = random.Next(12) == 0 ? Passages[random.Next(Passages.Length)] : stock[(int)(stock.Length * Math.Pow(random.NextDouble(), 3))] + " ";
            written += Encoding.UTF8.GetByteCount(piece);
            text.Append(piece);
        }

        return text.ToString();
    }

    /// <summary>One character or a few again and again, and one word without an end.</summary>
    public static IEnumerable<(string Name, string Text)> Hard(int bytes)
    {
        foreach (var (name, unit) in new[] { ("letter a", "a"), ("spaces", " "), ("newlines", "\n"), ("digits", "7"), ("stops", "."), ("han", "漢"), ("emoji", "😀"), ("accents", "\u0301\u0323"), ("blank lines", " \n"), ("opening tags", "<|") })
        {
            yield return (name, new StringBuilder().Insert(0, unit, bytes / Encoding.UTF8.GetByteCount(unit)).ToString());
        }

        var random = new Random(6);
        yield return ("one word", string.Concat(Enumerable.Range(0, bytes).Select(_ => (char)random.Next('a', 'z' + 1))));
    }

    private static string Word(Random random) => string.Concat(Enumerable.Range(0, random.Next(2, 9)).Select(_ => "etaoinshrdlucmfwypvbgkqjxz"[(int)(26 * Math.Pow(random.NextDouble(), 2))]));
}

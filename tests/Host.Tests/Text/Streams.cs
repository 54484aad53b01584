using System.Text;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.Tests.Text;

internal static class Streams
{
    /// <summary>
    /// Random tokens, cut at random places: the pieces joined are the whole, and none ends inside a character. Half of the tokens
    /// are among the first 300, where the single bytes are.
    /// </summary>
    public static void AssertSameAsWhole(ITokenizer tokenizer, int rounds, int seed)
    {
        var random = new Random(seed);
        for (var round = 0; round < rounds; round++)
        {
            var tokens = new int[random.Next(0, 40)];
            foreach (ref var token in tokens.AsSpan())
            {
                token = random.Next(random.Next(2) == 0 ? Math.Min(300, tokenizer.VocabSize) : tokenizer.VocabSize + 2);
            }

            var skipSpecial = random.Next(2) == 0;
            var stream = tokenizer.CreateDecoder(skipSpecial);
            var pieces = new List<string>();
            for (var at = 0; at < tokens.Length;)
            {
                var count = Math.Min(random.Next(0, 4), tokens.Length - at);
                pieces.Add(stream.Push(tokens.AsSpan(at, count)));
                at += count;
            }

            pieces.Add(stream.Flush());
            Assert.Equal(tokenizer.Decode(tokens, skipSpecial), string.Concat(pieces));
            Assert.All(pieces, piece => Assert.Equal(piece, Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(piece))));
        }
    }
}

using ScriptedServe.Host.Text.Tokenization;

namespace ScriptedServe.Host.Tests.Text;

public class BpeMergerTests
{
    [Fact]
    public void The_heap_merges_as_scanning_does()
    {
        var random = new Random(11);
        for (var round = 0; round < 2000; round++)
        {
            // Merges over few symbols, so that pairs overlap and results merge again; ranks in random order.
            var pairs = new PairTable(40);
            for (var rank = 0; rank < random.Next(1, 40); rank++)
            {
                pairs.Add(random.Next(8), random.Next(8), rank, random.Next(8));
            }

            var symbols = Enumerable.Range(0, random.Next(0, BpeMerger.MaxScanned + 1)).Select(_ => random.Next(4)).ToArray();
            var (scanned, heaped) = (symbols.ToArray(), symbols.ToArray());
            var scannedCount = BpeMerger.MergeByScanning(scanned, pairs);
            var heapedCount = BpeMerger.MergeByHeap(heaped, pairs);
            Assert.Equal(scanned[..scannedCount], heaped[..heapedCount]);
        }
    }

    [Fact]
    public void A_megabyte_without_a_space_is_one_word_and_still_quick()
    {
        // Quadratic merging of this takes hours; the assertion is that the test ends.
        var tokenizer = TokenizerJson.ByteLevel("a a", "aa aa", "aaaa aaaa").Load();
        Assert.Equal(125_000, tokenizer.Encode(new string('a', 1_000_000), addSpecialTokens: false).Length);
        var spaced = TokenizerJson.SentencePiece("▁a", "▁ ▁", "a a").Load();
        Assert.Equal(500_001, spaced.Encode(new string('a', 1_000_000), addSpecialTokens: false).Length);
    }
}

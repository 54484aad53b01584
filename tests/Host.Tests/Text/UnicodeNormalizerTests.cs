using System.Text;
using ScriptedServe.Host.Text.Normalization;

namespace ScriptedServe.Host.Tests.Text;

/// <summary>Examples are those of UAX #15 and of the character database's notes.</summary>
public class UnicodeNormalizerTests
{
    [Theory]
    [InlineData("\u212B", "\u00C5", "A\u030A", "\u00C5", "A\u030A")]
    [InlineData("\u1E0A\u0323", "\u1E0C\u0307", "D\u0323\u0307", "\u1E0C\u0307", "D\u0323\u0307")]
    [InlineData("\uFB01", "\uFB01", "\uFB01", "fi", "fi")]
    [InlineData("2\u2075", "2\u2075", "2\u2075", "25", "25")]
    [InlineData("\u1E9B\u0323", "\u1E9B\u0323", "\u017F\u0323\u0307", "\u1E69", "s\u0323\u0307")]
    [InlineData("\uD55C\u1100\u1161\u11A8", "\uD55C\uAC01", "\u1112\u1161\u11AB\u1100\u1161\u11A8", "\uD55C\uAC01", "\u1112\u1161\u11AB\u1100\u1161\u11A8")]
    [InlineData("\u0344", "\u0308\u0301", "\u0308\u0301", "\u0308\u0301", "\u0308\u0301")]
    [InlineData("\U0001D15E", "\U0001D157\U0001D165", "\U0001D157\U0001D165", "\U0001D157\U0001D165", "\U0001D157\U0001D165")]
    [InlineData("e\u0301x\u0301", "éx\u0301", "e\u0301x\u0301", "éx\u0301", "e\u0301x\u0301")]
    [InlineData("a\u0315\u0300\u05AE\u0300", "\u00E0\u05AE\u0300\u0315", "a\u05AE\u0300\u0300\u0315", "\u00E0\u05AE\u0300\u0315", "a\u05AE\u0300\u0300\u0315")]
    public void Known_strings_normalize_as_published(string text, string c, string d, string kc, string kd)
    {
        Assert.Equal(c, UnicodeNormalizer.Normalize(text, NormalizationForm.FormC));
        Assert.Equal(d, UnicodeNormalizer.Normalize(text, NormalizationForm.FormD));
        Assert.Equal(kc, UnicodeNormalizer.Normalize(text, NormalizationForm.FormKC));
        Assert.Equal(kd, UnicodeNormalizer.Normalize(text, NormalizationForm.FormKD));
    }

    [Fact]
    public void The_forms_agree_with_one_another_on_any_text()
    {
        var random = new Random(5);
        for (var round = 0; round < 5000; round++)
        {
            var text = string.Concat(Enumerable.Range(0, random.Next(12)).Select(_ => RandomRune(random)));
            var composed = UnicodeNormalizer.Normalize(text, NormalizationForm.FormC);
            var decomposed = UnicodeNormalizer.Normalize(text, NormalizationForm.FormD);
            Assert.Equal(composed, UnicodeNormalizer.Normalize(composed, NormalizationForm.FormC));
            Assert.Equal(composed, UnicodeNormalizer.Normalize(decomposed, NormalizationForm.FormC));
            Assert.Equal(decomposed, UnicodeNormalizer.Normalize(composed, NormalizationForm.FormD));
            Assert.Equal(
                UnicodeNormalizer.Normalize(text, NormalizationForm.FormKC),
                UnicodeNormalizer.Normalize(UnicodeNormalizer.Normalize(text, NormalizationForm.FormKD), NormalizationForm.FormC));
        }
    }

    private static Rune RandomRune(Random random)
    {
        var (first, last) = random.Next(6) switch
        {
            0 => (0x20, 0x7E),
            1 => (0x300, 0x345),
            2 => (0x1E00, 0x1FFF),
            3 => (0x1100, 0x11FF),
            4 => (0xAC00, 0xD7A3),
            _ => (0xA0, 0x2FFFF),
        };
        var point = random.Next(first, last + 1);
        return Rune.IsValid(point) ? new Rune(point) : new Rune('x');
    }
}

using ScriptedServe.Contracts;
using ScriptedServe.Host.Models;

namespace ScriptedServe.Host.Tests.Models;

/// <summary>Text of the model without weights: anything can be said to it, and what it says is words.</summary>
public sealed class SyntheticTextTests
{
    private static readonly ModelFolder Model = ModelFolder.Load("synthetic:vocab=6000,context=300", TimeProvider.System);

    [Fact]
    public void The_model_is_as_its_name_says()
    {
        Assert.Equal(("synthetic", 300, 6000), (Model.Facts.Id, Model.Facts.ContextLength, Model.Facts.VocabSize));
        Assert.Equal(6000, Model.Tokenizer.VocabSize);
        Assert.NotNull(Model.Template);
    }

    [Theory]
    [InlineData("Once upon a time")]
    [InlineData("wörld 漢字 🙂 \n\t \u0000 end")]
    [InlineData(" ba  be")]
    public void Any_text_comes_back_as_it_was(string text) =>
        Assert.Equal(text, Model.Tokenizer.Decode(Model.Tokenizer.Encode(text, addSpecialTokens: true)));

    [Fact]
    public void Every_word_is_one_token_and_no_two_are_the_same()
    {
        for (var id = SyntheticModel.ByteTokens; id < 6000; id++)
        {
            Assert.Equal([id], Model.Tokenizer.Encode(" " + SyntheticText.Word(id), addSpecialTokens: false));
        }
    }
}

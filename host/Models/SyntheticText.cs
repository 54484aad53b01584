using System.Globalization;
using System.Text;
using System.Text.Json;
using ScriptedServe.Contracts;
using ScriptedServe.Host.OpenAi;
using ScriptedServe.Host.Text;
using ScriptedServe.Host.Text.Tokenization;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Models;

/// <summary>
/// The text of a model without weights: a tokenizer.json made up here, read by the tokenizer that real models have. Ids below 256 are bytes, so any text
/// can be encoded; the others are made-up words, each with the space before it.
/// </summary>
internal static class SyntheticText
{
    private const string Consonants = "bdfgklmnprstvz";
    private const string Vowels = "aeiou";

    private const string Template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

    public static ModelFolder Of(SyntheticModel model, TimeProvider time) => new(
        new ModelFacts(SyntheticModel.Name, model.Context, model.Vocab, new Sampling()),
        HuggingFaceTokenizer.Parse(TokenizerJson(model.Vocab), SyntheticModel.Name),
        ChatTemplate.Parse(Template, time, source: SyntheticModel.Name));

    /// <summary>The word of an id: a syllable for each of its digits, so that no two ids have the same.</summary>
    internal static string Word(int id)
    {
        var word = new StringBuilder();
        var rest = id - SyntheticModel.ByteTokens;
        do
        {
            (rest, var syllable) = Math.DivRem(rest, Consonants.Length * Vowels.Length);
            word.Append(Consonants[syllable / Vowels.Length]).Append(Vowels[syllable % Vowels.Length]);
        }
        while (rest > 0);
        return word.ToString();
    }

    private static byte[] TokenizerJson(int vocab)
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            WriteByteLevel("pre_tokenizer");
            WriteByteLevel("decoder");
            json.WriteStartObject("model");
            json.WriteString("type", "BPE");
            json.WriteBoolean("ignore_merges", true);
            json.WriteStartObject("vocab");
            for (var id = 0; id < SyntheticModel.ByteTokens; id++)
            {
                json.WriteNumber(ByteAlphabet.CharacterOf((byte)id).ToString(CultureInfo.InvariantCulture), id);
            }

            var space = ByteAlphabet.CharacterOf((byte)' ').ToString(CultureInfo.InvariantCulture);
            for (var id = SyntheticModel.ByteTokens; id < vocab; id++)
            {
                json.WriteNumber(space + Word(id), id);
            }

            json.WriteEndObject();
            json.WriteStartArray("merges");
            json.WriteEndArray();
            json.WriteEndObject();
            json.WriteEndObject();

            void WriteByteLevel(string step)
            {
                json.WriteStartObject(step);
                json.WriteString("type", "ByteLevel");
                json.WriteBoolean("add_prefix_space", false);
                json.WriteEndObject();
            }
        }

        return bytes.ToArray();
    }
}

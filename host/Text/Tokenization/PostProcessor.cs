namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>The special tokens put around an encoded text.</summary>
internal sealed record PostProcessor(int[] Before, int[] After)
{
    public static PostProcessor None { get; } = new([], []);

    public static PostProcessor Read(JsonSpot spot) => spot["type"].Text() switch
    {
        "Sequence" => spot["processors"].Items().Select(Read).Aggregate(None, (inner, outer) =>
            new PostProcessor([.. outer.Before, .. inner.Before], [.. inner.After, .. outer.After])),
        "TemplateProcessing" => Template(spot),
        "ByteLevel" => None, // concerns offsets alone
        "RobertaProcessing" or "BertProcessing" => new PostProcessor([NamedId(spot["cls"])], [NamedId(spot["sep"])]),
        var other => throw spot.Unsupported($"post-processor {other}", "Sequence, TemplateProcessing, ByteLevel, RobertaProcessing, BertProcessing"),
    };

    private static PostProcessor Template(JsonSpot spot)
    {
        List<int> before = [], after = [];
        var seesText = false;
        foreach (var piece in spot["single"].Items())
        {
            if (piece.Optional("SpecialToken") is { } special)
            {
                var name = special["id"].Text();
                (seesText ? after : before).AddRange(spot["special_tokens"][name]["ids"].Items().Select(id => id.Count(WordModel.MaxId)));
            }
            else if (seesText)
            {
                throw piece.Error("the sequence once", piece.Found());
            }
            else
            {
                _ = piece["Sequence"];
                seesText = true;
            }
        }

        return seesText ? new PostProcessor([.. before], [.. after]) : throw spot["single"].Error("a place for the sequence", spot["single"].Found());
    }

    /// <summary>The id of a ["token", id] pair.</summary>
    private static int NamedId(JsonSpot spot) =>
        spot.Items().ToArray() is [_, var id] ? id.Count(WordModel.MaxId) : throw spot.Error("a token and its id", spot.Found());
}

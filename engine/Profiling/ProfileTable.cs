using System.Globalization;
using System.Text;
using ScriptedServe.Contracts;

namespace ScriptedServe.Engine.Profiling;

/// <summary>A profile for people.</summary>
internal static class ProfileTable
{
    public static string Of(EngineProfile profile)
    {
        var text = new StringBuilder();
        var (model, settings) = (profile.Model, profile.Settings);
        Line(text, $"{model.Id} on {settings.Device}, {settings.Threads} threads, {profile.Machine.Vectors}; weights {settings.Weights}, KV {settings.KvDtype}, {model.KvBytesPerToken} bytes a token");
        Grid(text, "prefill, tokens/s", "chunk", profile.Prefill, cell => (cell.ChunkTokens, cell.ContextTokens, cell.TokensPerSecond), "F0");
        Grid(text, "decode, ms a step", "sequences", profile.Decode, cell => (cell.Sequences, cell.ContextTokens, cell.StepMs), "F2");
        text.AppendLine();
        Line(text, $"{"KV copy",-12} {"tokens",9} {"MiB",9} {"ms",9} {"GB/s",9}");
        foreach (var copy in profile.KvCopy)
        {
            Line(text, $"{copy.Transport,-12} {copy.Tokens,9} {copy.Bytes / (double)(1 << 20),9:F2} {copy.Ms,9:F2} {copy.GigabytesPerSecond,9:F2}");
        }

        foreach (var skipped in profile.Skipped)
        {
            Line(text, $"skipped: {skipped}");
        }

        return text.ToString();
    }

    private static void Grid<T>(StringBuilder text, string title, string rows, IReadOnlyList<T> cells, Func<T, (int Row, int Context, double Value)> read, string format)
    {
        int[] contexts = [.. cells.Select(cell => read(cell).Context).Distinct().Order()];
        text.AppendLine();
        Line(text, $"{title} (columns: tokens of context)");
        text.Append(CultureInfo.InvariantCulture, $"{rows,-12}");
        foreach (var context in contexts)
        {
            text.Append(CultureInfo.InvariantCulture, $" {context,9}");
        }

        text.AppendLine();
        foreach (var row in cells.GroupBy(cell => read(cell).Row))
        {
            text.Append(CultureInfo.InvariantCulture, $"{row.Key,-12}");
            foreach (var context in contexts)
            {
                var cell = row.Select(read).Where(read => read.Context == context).Select(read => read.Value.ToString(format, CultureInfo.InvariantCulture)).FirstOrDefault("-");
                text.Append(CultureInfo.InvariantCulture, $" {cell,9}");
            }

            text.AppendLine();
        }
    }

    private static void Line(StringBuilder text, FormattableString line) => text.AppendLine(line.ToString(CultureInfo.InvariantCulture));
}

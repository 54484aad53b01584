using System.Text;

namespace ScriptedServe.Host.Text.Normalization;

/// <summary>Unicode normalization forms NFC, NFD, NFKC and NFKD (UAX #15), linear in the text but for sorting runs of combining marks.</summary>
internal static class UnicodeNormalizer
{
    private const int HangulBase = 0xAC00, LeadBase = 0x1100, VowelBase = 0x1161, TailBase = 0x11A7;
    private const int LeadCount = 19, VowelCount = 21, TailCount = 28, HangulCount = LeadCount * VowelCount * TailCount;

    /// <param name="text">Well-formed UTF-16.</param>
    public static string Normalize(string text, NormalizationForm form)
    {
        var compatible = form is NormalizationForm.FormKC or NormalizationForm.FormKD;
        var composes = form is NormalizationForm.FormC or NormalizationForm.FormKC;
        // Below these code points nothing decomposes in the form, or nothing that would not compose again.
        var lastInert = compatible ? '\u009F' : composes ? '\u02FF' : '\u00BF';
        var inert = text.AsSpan().IndexOfAnyExceptInRange('\0', lastInert);
        if (inert < 0)
        {
            return text;
        }

        // The last inert character may take part in a composition.
        inert = Math.Max(0, inert - 1);
        var points = Decompose(text.AsSpan(inert), compatible);
        if (composes)
        {
            Compose(points);
        }

        var result = new StringBuilder(text.Length + 8).Append(text.AsSpan(0, inert));
        Span<char> utf16 = stackalloc char[2];
        foreach (var point in points)
        {
            result.Append(utf16[..new Rune(point).EncodeToUtf16(utf16)]);
        }

        return result.ToString();
    }

    private static List<int> Decompose(ReadOnlySpan<char> text, bool compatible)
    {
        var table = UnicodeTable.Instance;
        var points = new List<int>(text.Length + 8);
        foreach (var rune in text.EnumerateRunes())
        {
            var point = rune.Value;
            if (point is >= HangulBase and < HangulBase + HangulCount)
            {
                var index = point - HangulBase;
                points.Add(LeadBase + (index / (VowelCount * TailCount)));
                points.Add(VowelBase + (index / TailCount % VowelCount));
                if (index % TailCount != 0)
                {
                    points.Add(TailBase + (index % TailCount));
                }
            }
            else if (point >= 0xA0 && table.Decomposition(point, compatible) is { } mapping)
            {
                points.AddRange(mapping);
            }
            else
            {
                points.Add(point);
            }
        }

        SortMarks(points);
        return points;
    }

    /// <summary>Canonical ordering: each run of non-starters by combining class, stably.</summary>
    private static void SortMarks(List<int> points)
    {
        var table = UnicodeTable.Instance;
        for (var i = 0; i < points.Count; i++)
        {
            if (table.CombiningClass(points[i]) == 0)
            {
                continue;
            }

            var end = i + 1;
            var sorted = true;
            for (; end < points.Count && table.CombiningClass(points[end]) is > 0 and var next; end++)
            {
                sorted &= table.CombiningClass(points[end - 1]) <= next;
            }

            if (!sorted)
            {
                var run = points.GetRange(i, end - i);
                var order = run.Select((point, index) => ((long)table.CombiningClass(point) << 32) | (uint)index).ToArray();
                Array.Sort(order);
                for (var k = 0; k < order.Length; k++)
                {
                    points[i + k] = run[(int)(uint)order[k]];
                }
            }

            i = end - 1;
        }
    }

    /// <summary>Canonical composition in place: a mark joins the last starter unless one of no lower class stands between.</summary>
    private static void Compose(List<int> points)
    {
        var table = UnicodeTable.Instance;
        var (starter, lastClass, written) = (-1, -1, 0);
        for (var i = 0; i < points.Count; i++)
        {
            var point = points[i];
            int klass = table.CombiningClass(point);
            if (starter >= 0 && lastClass < klass && TryCompose(table, points[starter], point, out var composite))
            {
                points[starter] = composite;
                continue;
            }

            if (klass == 0)
            {
                (starter, lastClass) = (written, -1);
            }
            else
            {
                lastClass = klass;
            }

            points[written++] = point;
        }

        points.RemoveRange(written, points.Count - written);
    }

    private static bool TryCompose(UnicodeTable table, int first, int second, out int composite)
    {
        if (first is >= LeadBase and < LeadBase + LeadCount && second is >= VowelBase and < VowelBase + VowelCount)
        {
            composite = HangulBase + ((((first - LeadBase) * VowelCount) + second - VowelBase) * TailCount);
            return true;
        }

        if (first is >= HangulBase and < HangulBase + HangulCount && (first - HangulBase) % TailCount == 0
            && second is > TailBase and < TailBase + TailCount)
        {
            composite = first + second - TailBase;
            return true;
        }

        return table.TryCompose(first, second, out composite);
    }
}

namespace ScriptedServe.Host.Text.Tokenization;

/// <summary>What becomes of the text a splitting pattern matches.</summary>
internal enum SplitBehavior
{
    /// <summary>Dropped.</summary>
    Removed,

    /// <summary>A piece of its own.</summary>
    Isolated,

    /// <summary>Joined to the piece before it; of several matches in a row only the first.</summary>
    MergedWithPrevious,

    /// <summary>Joined to the piece after it; of several matches in a row only the last.</summary>
    MergedWithNext,

    /// <summary>One piece with the matches that touch it; so too the text between.</summary>
    Contiguous,
}

/// <summary>Makes pieces of matches and of the text between them, and hands them on in order.</summary>
/// <param name="invert">Treat the text between matches as the matches.</param>
/// <param name="atStart">Whether the text is the beginning of the whole input.</param>
internal ref struct PieceJoiner(ReadOnlySpan<char> text, SplitBehavior behavior, bool invert, bool atStart, PreTokenizer next, List<int> ids) : IMatchSink
{
    private readonly ReadOnlySpan<char> text = text;
    private int covered;
    private int heldStart;
    private int heldEnd;
    private bool heldIsMatch;

    public void Match(int start, int end)
    {
        if (start > covered)
        {
            Add(covered, start, invert);
        }

        if (end > start)
        {
            Add(start, end, !invert);
        }

        covered = end;
    }

    /// <summary>To be called once, after the last match.</summary>
    public void Finish()
    {
        if (text.Length > covered)
        {
            Add(covered, text.Length, invert);
        }

        Emit(heldStart, heldEnd);
    }

    private void Add(int start, int end, bool isMatch)
    {
        if (behavior == SplitBehavior.Isolated)
        {
            Emit(start, end);
        }
        else if (behavior == SplitBehavior.Removed)
        {
            if (!isMatch)
            {
                Emit(start, end);
            }
        }
        else
        {
            Hold(start, end, isMatch);
        }
    }

    private void Hold(int start, int end, bool isMatch)
    {
        var joins = heldEnd > heldStart && behavior switch
        {
            SplitBehavior.Contiguous => isMatch == heldIsMatch,
            SplitBehavior.MergedWithPrevious => isMatch && !heldIsMatch,
            _ => !isMatch && heldIsMatch,
        };
        if (!joins)
        {
            Emit(heldStart, heldEnd);
            heldStart = start;
        }

        (heldEnd, heldIsMatch) = (end, isMatch);
    }

    private readonly void Emit(int start, int end)
    {
        if (end > start)
        {
            next.Split(text[start..end], atStart && start == 0, ids);
        }
    }
}

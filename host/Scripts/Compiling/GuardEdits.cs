using Microsoft.CodeAnalysis.Text;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// Edits of a text, made while its syntax tree is walked from the outside in. At one place, what ends there comes before what begins, the
/// inner end before the outer, the outer beginning before the inner.
/// </summary>
internal sealed class GuardEdits
{
    private readonly List<(Kind Kind, TextSpan Span, string Text)> _made = [];

    /// <summary>In the order in which they apply at one place.</summary>
    private enum Kind
    {
        Close,
        Insert,
        Replace,
    }

    /// <summary>Puts in what begins at a position.</summary>
    public void Insert(int position, string text) => Add(Kind.Insert, new TextSpan(position, 0), text);

    /// <summary>Puts in what ends at a position.</summary>
    public void Close(int position, string text) => Add(Kind.Close, new TextSpan(position, 0), text);

    public void Replace(TextSpan span, string text) => Add(Kind.Replace, span, text);

    public SourceText Apply(SourceText text) => text.WithChanges(_made
        .Select((edit, order) => (edit, order: edit.Kind == Kind.Close ? -order : order))
        .OrderBy(one => one.edit.Span.Start).ThenBy(one => one.edit.Kind).ThenBy(one => one.order)
        .Select(one => new TextChange(one.edit.Span, one.edit.Text)));

    private void Add(Kind kind, TextSpan span, string text)
    {
        if (text.Length > 0)
        {
            _made.Add((kind, span, text));
        }
    }
}

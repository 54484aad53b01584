using System.Text;

namespace ScriptedServe.Host.OpenAi;

/// <summary>Joins parts of a text. One part alone comes out as the string it was.</summary>
internal sealed class TextParts
{
    private string _only = "";
    private StringBuilder? _joined;

    public int Length => _only.Length + (_joined?.Length ?? 0);

    public void Append(string part)
    {
        if (part.Length == 0)
        {
            return;
        }

        if (Length == 0)
        {
            _only = part;
            return;
        }

        _joined ??= new StringBuilder();
        _joined.Append(_only).Append(part);
        _only = "";
    }

    /// <summary>All of it; nothing is left.</summary>
    public string Take()
    {
        var text = _only;
        if (_joined is { Length: > 0 })
        {
            text = _joined.ToString();
            _joined.Clear();
        }

        _only = "";
        return text;
    }
}

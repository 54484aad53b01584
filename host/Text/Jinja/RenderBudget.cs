using System.Text;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>
/// Bounds what one rendering may do: a template is data of a model folder and must neither hang the host nor fill its memory.
/// Work is counted in evaluated nodes; handling text or items costs one for each 16 of them.
/// </summary>
/// <param name="maxWork">Default 10 million: a second or so, a hundred times what a long conversation takes.</param>
/// <param name="maxCharacters">Longest text, finished or intermediate. Default 32 Mi.</param>
internal sealed class RenderBudget(TimeProvider time, long maxWork = 10_000_000, int maxCharacters = 32 << 20)
{
    private long work;

    /// <summary>For strftime_now.</summary>
    public TimeProvider Time => time;

    public void Step()
    {
        if (++work > maxWork)
        {
            throw new JinjaException($"the template does more than {maxWork} steps of work");
        }
    }

    /// <summary>To be called before a text or list of this size is made or walked.</summary>
    public void Charge(long size)
    {
        if (size > maxCharacters)
        {
            throw new JinjaException($"the template makes a text of more than {maxCharacters} characters");
        }

        work += size / 16;
        Step();
    }

    public void Write(StringBuilder output, string text)
    {
        Charge((long)output.Length + text.Length <= maxCharacters ? text.Length : (long)output.Length + text.Length);
        output.Append(text);
    }
}

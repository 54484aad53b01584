using System.Runtime.InteropServices;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>A sequence's part of a step.</summary>
/// <param name="Tokens">Whose KV the step computes.</param>
/// <param name="Chooses">The step chooses its next token.</param>
internal readonly record struct StepPart(Sequence Sequence, int Tokens, bool Chooses);

/// <summary>What a step that was launched will have been for when its outcome is known; used again for later ones.</summary>
internal sealed class StepUnderWay
{
    private readonly List<StepPart> _parts = [];

    public ReadOnlySpan<StepPart> Parts => CollectionsMarshal.AsSpan(_parts);

    public long Launched { get; private set; }

    /// <summary>Takes note of a plan that was launched, and has its sequences take note of the step.</summary>
    public void Begin(Scheduler plan, long now)
    {
        Launched = now;
        _parts.Clear();
        var choice = 0;
        for (var index = 0; index < plan.Planned.Length; index++)
        {
            var (sequence, chooses) = (plan.Planned[index], plan.Slices[index].WantsLogits);
            _parts.Add(new StepPart(sequence, sequence.Planned, chooses));
            sequence.UnderWay += sequence.Planned;
            if (chooses)
            {
                ((GenerateSequence)sequence).Await(choice++);
            }
            else if (sequence is SendSequence send)
            {
                send.MarkSent(send.Begun);
            }
        }
    }

    /// <summary>The step is over: its sequences wait for nothing of it.</summary>
    public void End()
    {
        foreach (var (sequence, tokens, chooses) in Parts)
        {
            sequence.UnderWay -= tokens;
            if (chooses)
            {
                ((GenerateSequence)sequence).EndAwait();
            }
        }
    }
}

using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Explain;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts.Shadowing;

/// <summary>A request that was served, with all that a script could see of it: what it asked, the engines at its arrival, and what came back.</summary>
internal sealed record RecordedRequest(RequestSpec Spec, IReadOnlyList<SeenEngine> Engines, IReadOnlyList<Chunk> Chunks, RequestTrace Trace)
{
    /// <summary>The engines its script chose, by what it asked for, in order: the same question gets the same answer, where loads leave it open.</summary>
    public Dictionary<(ChoiceKind Kind, string Set), Queue<string>> Choices() => Trace.Decisions.Kept.OfType<Choice>()
        .Where(choice => choice.Chosen is not null)
        .GroupBy(choice => (choice.Kind, choice.Set))
        .ToDictionary(group => group.Key, group => new Queue<string>(group.Select(choice => choice.Chosen!)));

    public IReadOnlyList<ShadowCall> Calls() => [.. Trace.Calls.Where(call => ShadowCall.Kinds.Contains(call.Call)).Select(call => new ShadowCall(call.Call, call.Engine, call.To, call.Begin ?? 0, call.End ?? 0))];

    public SubCall? Find(string call, string engine) => Trace.Calls.FirstOrDefault(made => made.Call == call && made.Engine == engine && made.Outcome == CallOutcome.Ok);
}

/// <summary>A sub-call as versions are compared by it.</summary>
/// <param name="To">Of RemoteSend: the engine sent to.</param>
/// <param name="Begin">The window's first token, resolved.</param>
/// <param name="End">One past the window's last token, resolved.</param>
public sealed record ShadowCall(string Call, string Engine, string? To, int Begin, int End)
{
    internal static IReadOnlySet<string> Kinds { get; } = new HashSet<string> { "PrepRecv", "RemoteSend", "StartGenerate" };
}

namespace ScriptedServe.Host.Scripts.Shadowing;

/// <summary>How a shadow's decisions differ from those that were acted on; the gravest difference counts.</summary>
public enum ShadowDifference
{
    None,

    /// <summary>It failed.</summary>
    Failed,

    /// <summary>It made other calls, more of them or fewer.</summary>
    Calls,

    /// <summary>The same calls, one of them on another engine.</summary>
    Engine,

    /// <summary>The same calls on the same engines, split elsewhere.</summary>
    Split,
}

/// <summary>Compares what two versions did with the same request. Pure.</summary>
internal static class ShadowComparison
{
    public static ShadowDifference Of(IReadOnlyList<ShadowCall> acted, IReadOnlyList<ShadowCall> shadow, string? shadowError)
    {
        if (shadowError is not null)
        {
            return ShadowDifference.Failed;
        }

        if (!acted.Select(call => call.Call).SequenceEqual(shadow.Select(call => call.Call)))
        {
            return ShadowDifference.Calls;
        }

        if (!acted.Select(call => (call.Engine, call.To)).SequenceEqual(shadow.Select(call => (call.Engine, call.To))))
        {
            return ShadowDifference.Engine;
        }

        return acted.SequenceEqual(shadow) ? ShadowDifference.None : ShadowDifference.Split;
    }
}

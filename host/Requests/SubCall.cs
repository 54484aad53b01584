using System.Globalization;
using System.Text.Json.Serialization;

namespace ScriptedServe.Host.Requests;

/// <summary>How a request or one of its sub-calls ended.</summary>
public enum CallOutcome
{
    Running,
    Ok,

    /// <summary>There was nothing to do, so no call was made.</summary>
    Skipped,

    /// <summary>The client left, or the router stopped listening.</summary>
    Cancelled,
    Failed,
}

/// <summary>What a script passed to a sub-call; null where it left it to the call.</summary>
/// <param name="Begin">As given: negative ones count from the end.</param>
/// <param name="End">As given: negative ones count from the end.</param>
/// <param name="Kv">The engine of the reservation it passed.</param>
internal readonly record struct CallArguments(int? Begin, int? End, string? Kv)
{
    /// <summary>As in <c>kv on engine-1, end: -1</c>; null if it passed none.</summary>
    public string? Words
    {
        get
        {
            string?[] words = [Kv is null ? null : $"kv on {Kv}", Begin is { } begin ? Text($"begin: {begin}") : null, End is { } end ? Text($"end: {end}") : null];
            return words.Any(word => word is not null) ? string.Join(", ", words.Where(word => word is not null)) : null;
        }
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

/// <summary>
/// One call that a request made on an engine, as <c>/admin/requests/{id}</c> shows it. Times are milliseconds from the request's
/// arrival. Fields that a kind of call does not have stay null. Written by the call, readable at any moment.
/// </summary>
public sealed class SubCall
{
    internal SubCall(string engine, string call, int? begin, int? end, double startMs)
    {
        Engine = engine;
        Call = call;
        Begin = begin;
        End = end;
        StartMs = startMs;
    }

    public string Engine { get; }

    /// <summary>PrepRecv, RemoteSend, StartGenerate, Release or Abort.</summary>
    public string Call { get; }

    /// <summary>The window's first token, resolved.</summary>
    public int? Begin { get; }

    /// <summary>One past the window's last token, resolved.</summary>
    public int? End { get; }

    /// <summary>The engine that holds the reservation written to.</summary>
    public string? To { get; internal set; }

    /// <summary>What the script passed, besides the request.</summary>
    public string? Arguments => Given.Words;

    public double StartMs { get; }

    public double? DurationMs { get; internal set; }

    public CallOutcome Outcome { get; internal set; } = CallOutcome.Running;

    public string? Error { get; internal set; }

    public int? MatchedTokens { get; internal set; }

    public int? SentTokens { get; internal set; }

    public int? CachedTokens { get; internal set; }

    public int? ComputedTokens { get; internal set; }

    public long? Bytes { get; internal set; }

    public string? Transport { get; internal set; }

    /// <summary>From the request's arrival to this call's first chunk.</summary>
    public double? FirstTokenMs { get; internal set; }

    public int? OutputTokens { get; internal set; }

    /// <summary>Parts of the duration, as the engine measured them.</summary>
    public long? QueueUs { get; internal set; }

    public long? ComputeUs { get; internal set; }

    public long? TransferUs { get; internal set; }

    public long? DecodeUs { get; internal set; }

    internal CallArguments Given { get; init; }

    [JsonIgnore]
    internal bool HasEnded => Outcome != CallOutcome.Running;
}

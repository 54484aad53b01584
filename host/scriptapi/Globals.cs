namespace ScriptedServe.Scripting;

/// <summary>What a router script sees as its top-level names.</summary>
/// <param name="fleet">See <see cref="Fleet"/>.</param>
/// <param name="traffic">See <see cref="Traffic"/>.</param>
/// <param name="state">See <see cref="State"/>.</param>
/// <param name="log">See <see cref="Log"/>.</param>
/// <param name="time">See <see cref="Time"/>.</param>
/// <param name="options">See <see cref="Options"/>.</param>
public class RouterGlobals(RouterFleet fleet, RouterTraffic traffic, RouterState state, RouterLog log, TimeProvider time, RouterOptions options)
{
    /// <summary>The engines.</summary>
    public RouterFleet Fleet { get; } = fleet;

    /// <summary>What the traffic of the last minute looks like.</summary>
    public RouterTraffic Traffic { get; } = traffic;

    /// <summary>Values that survive a swap to the router's next version.</summary>
    public RouterState State { get; } = state;

    /// <summary>The router's log; lines carry its name, version and the request.</summary>
    public RouterLog Log { get; } = log;

    /// <summary>The clock. Scripts use no other.</summary>
    public TimeProvider Time { get; } = time;

    /// <summary>Values set when the version was activated.</summary>
    public RouterOptions Options { get; } = options;
}

/// <summary>The mean and spread of some quantity over the window.</summary>
/// <param name="Count">Observations.</param>
/// <param name="Mean">0 without observations.</param>
/// <param name="P50">Median.</param>
/// <param name="P95">95th percentile.</param>
/// <param name="P99">99th percentile.</param>
public readonly record struct Distribution(long Count, double Mean, double P50, double P95, double P99);

/// <summary>Traffic over the last minute, all routers together.</summary>
public abstract class RouterTraffic
{
    /// <summary>Requests a second.</summary>
    public abstract double ArrivalRate { get; }

    /// <summary>Prompt lengths, in tokens.</summary>
    public abstract Distribution PromptTokens { get; }

    /// <summary>Output lengths, in tokens.</summary>
    public abstract Distribution OutputTokens { get; }

    /// <summary>Prompt tokens to output tokens; 0 without traffic.</summary>
    public abstract double PrefillDecodeRatio { get; }

    /// <summary>Seconds from arrival to the first token.</summary>
    public abstract Distribution Ttft { get; }

    /// <summary>Seconds between tokens after the first.</summary>
    public abstract Distribution Tpot { get; }

    /// <summary>Seconds from arrival to the last token: job completion time.</summary>
    public abstract Distribution Jct { get; }

    /// <summary>Requests under way.</summary>
    public abstract int InFlight { get; }
}

/// <summary>
/// Named values of one router that its next versions find again. Keep host types here (numbers, strings, collections of them): a type
/// that the script itself defines would keep the old version loaded, and is refused.
/// </summary>
public abstract class RouterState
{
    /// <summary>The value kept under a name, made and kept first if there is none.</summary>
    /// <param name="name">Names the value.</param>
    /// <param name="create">Called at most once a name.</param>
    /// <typeparam name="T">The value's type; asking with another type is an error.</typeparam>
    public abstract T GetOrAdd<T>(string name, Func<T> create)
        where T : notnull;

    /// <summary>Keeps a value under a name, in place of any before.</summary>
    /// <param name="name">Names the value.</param>
    /// <param name="value">The value.</param>
    /// <typeparam name="T">The value's type.</typeparam>
    public abstract void Set<T>(string name, T value)
        where T : notnull;

    /// <summary>Forgets a value.</summary>
    /// <param name="name">Names the value.</param>
    public abstract void Remove(string name);
}

/// <summary>A router's log.</summary>
public abstract class RouterLog
{
    /// <summary>Writes a line for the operator.</summary>
    /// <param name="message">The text.</param>
    public abstract void Info(string message);

    /// <summary>Writes a line about something that should be looked at.</summary>
    /// <param name="message">The text.</param>
    public abstract void Warn(string message);
}

/// <summary>Values set when a version was activated, as text.</summary>
public abstract class RouterOptions
{
    /// <summary>A value, or null if it was not set.</summary>
    /// <param name="name">Names compare without case.</param>
    public abstract string? this[string name] { get; }

    /// <summary>A value read as <typeparamref name="T"/>.</summary>
    /// <param name="name">Names compare without case.</param>
    /// <param name="fallback">Used when it was not set.</param>
    /// <exception cref="FormatException">It was set to something that is no such value.</exception>
    public abstract T Get<T>(string name, T fallback)
        where T : IParsable<T>;
}

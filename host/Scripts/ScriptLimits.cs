using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Scripts;

/// <summary>Limits on scripts: their text, their compile, their calls.</summary>
public sealed class ScriptLimits
{
    /// <summary>Largest text of one file, bytes of UTF-8 (default 256 KiB; 1 KiB to 16 MiB). Setting: script-source-kib.</summary>
    public int SourceBytes { get; set; } = 256 * 1024;

    /// <summary>How deep files may <c>#load</c> one another (default 8; 0 to 64). Setting: script-load-depth.</summary>
    public int LoadDepth { get; set; } = 8;

    /// <summary>Files one router may <c>#load</c> in all (default 64; 0 to 1024). Setting: script-load-files.</summary>
    public int LoadFiles { get; set; } = 64;

    /// <summary>Thread time between two awaits, of all threads of the call together, milliseconds (default 250; 1 to 60000). Setting: script-budget-ms.</summary>
    public int BudgetMs { get; set; } = 250;

    /// <summary>Bytes allocated between two awaits, MiB (default 64; 1 to 16384). Setting: script-budget-mib.</summary>
    public int BudgetMib { get; set; } = 64;

    /// <summary>Thread time of a request in all, milliseconds (default 10000; 1 to 3600000). Setting: script-request-ms.</summary>
    public int RequestMs { get; set; } = 10_000;

    /// <summary>Calls of PrepRecv, RemoteSend and StartGenerate that one request may make (default 64; 1 to 100000). Setting: script-subcalls.</summary>
    public int SubCalls { get; set; } = 64;

    /// <summary>Async functions of a script that one request may have under way at once (default 1000; 1 to 1000000). Setting: script-async-calls.</summary>
    public int AsyncCalls { get; set; } = 1000;

    /// <summary>How long a cancelled call may go on, milliseconds (default 1000; 0 to 60000). Setting: script-cancel-grace-ms.</summary>
    public int CancelGraceMs { get; set; } = 1000;

    /// <summary>How long loading (top-level statements and OnLoad) or OnUnload may take, milliseconds (default 5000; 1 to 600000). Setting: script-load-ms.</summary>
    public int LoadMs { get; set; } = 5000;

    /// <summary>Between two calls of PlanStrategy, milliseconds (default 1000; 10 to 3600000). Setting: plan-interval-ms.</summary>
    public int PlanIntervalMs { get; set; } = 1000;

    /// <summary>How long one PlanStrategy call may take, milliseconds (default 10000; 1 to 3600000). Setting: plan-limit-ms.</summary>
    public int PlanLimitMs { get; set; } = 10_000;

    /// <summary>Compiles that may wait for their turn (default 16; 1 to 1024). Setting: compile-queue.</summary>
    public int CompileQueue { get; set; } = 16;

    /// <summary>How long reading or compiling one text may take, milliseconds (default 30000; 100 to 600000). Setting: compile-ms.</summary>
    public int CompileMs { get; set; } = 30_000;

    /// <summary>
    /// Inactive versions of a name that stay loaded, for rollback and <c>X-Router: name@version</c>; the one a rollback would take is kept
    /// first, then the newest (default 2; 2 to 64). Each holds a load context. Setting: router-versions-kept.
    /// </summary>
    public int VersionsKept { get; set; } = 2;

    /// <summary>Versions of a name whose source and outcome are remembered after they were unloaded or rejected (default 50; 0 to 10000). Setting: router-history.</summary>
    public int History { get; set; } = 50;

    /// <summary>Every value out of its range, named; empty if all are good.</summary>
    public IReadOnlyList<string> Errors()
    {
        var errors = new List<string>();
        Range("script-source-kib", SourceBytes / 1024, 1, 16 * 1024);
        Range("script-load-depth", LoadDepth, 0, 64);
        Range("script-load-files", LoadFiles, 0, 1024);
        Range("script-budget-ms", BudgetMs, 1, 60_000);
        Range("script-budget-mib", BudgetMib, 1, 16_384);
        Range("script-request-ms", RequestMs, 1, 3_600_000);
        Range("script-subcalls", SubCalls, 1, 100_000);
        Range("script-async-calls", AsyncCalls, 1, 1_000_000);
        Range("script-cancel-grace-ms", CancelGraceMs, 0, 60_000);
        Range("script-load-ms", LoadMs, 1, 600_000);
        Range("plan-interval-ms", PlanIntervalMs, 10, 3_600_000);
        Range("plan-limit-ms", PlanLimitMs, 1, 3_600_000);
        Range("compile-queue", CompileQueue, 1, 1024);
        Range("compile-ms", CompileMs, 100, 600_000);
        Range("router-versions-kept", VersionsKept, 2, 64);
        Range("router-history", History, 0, 10_000);
        return errors;

        void Range(string setting, int value, int least, int most)
        {
            if (value < least || value > most)
            {
                errors.Add($"{setting} is {value}; it must be {least} to {most}");
            }
        }
    }

    /// <summary>The budget of each call into a script.</summary>
    public ScriptBudget Budget(TimeProvider clock) => new(
        TimeSpan.FromMilliseconds(BudgetMs), (long)BudgetMib << 20, TimeSpan.FromMilliseconds(CancelGraceMs), clock, TimeSpan.FromMilliseconds(RequestMs))
    {
        AsyncCalls = AsyncCalls,
    };
}

namespace ScriptedServe.Host.Scripts;

/// <summary>Ids of this host's own diagnostics. SS01xx are the API rules, see <see cref="ScriptApiRules"/>.</summary>
public static class ScriptDiagnosticIds
{
    public const string HandleRequestMissing = "SS0001";
    public const string HandleRequestSignature = "SS0002";
    public const string HandleRequestTwice = "SS0003";
    public const string OptionalEntrySignature = "SS0004";
    public const string LoadRefused = "SS0005";
    public const string ReferenceRefused = "SS0006";
    public const string TooLarge = "SS0007";

    /// <summary>The script compiles, but not with the guards in it: a fault of the host.</summary>
    public const string GuardFailed = "SS0008";

    /// <summary>Top-level statements or OnLoad threw or did not end in time.</summary>
    public const string LoadFailed = "SS0009";

    /// <summary>A function has the name of an entry point but for its letters' case.</summary>
    public const string NearlyEntryPoint = "SS0011";

    /// <summary>The compiler itself failed: a text nested too deeply, say.</summary>
    public const string CompilerFailed = "SS0010";
}

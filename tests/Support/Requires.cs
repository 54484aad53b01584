using Xunit;

namespace ScriptedServe.Tests.Support;

/// <summary>What a test may need from the machine beyond the .NET SDK.</summary>
public enum Need
{
    /// <summary>The folder named by SCRIPTEDSERVE_TEST_DATA.</summary>
    TestData,

    /// <summary>Node.js and npm with a reachable registry.</summary>
    Node,

    /// <summary>Debian's python3-msgpack.</summary>
    PythonMsgpack,

    /// <summary>The programs of PostgreSQL, and a user to run them as.</summary>
    Postgres,

    /// <summary>g++, and bash to call it.</summary>
    CppCompiler,

    /// <summary>clang++ that compiles CUDA for GPUs, as Debian's does.</summary>
    CudaClang,

    /// <summary>zsh, with its completion and its zpty module.</summary>
    Zsh,
}

/// <summary>A fact that is skipped, with the reason, where its need is absent; on CI it runs and fails instead.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RequiresFactAttribute : FactAttribute
{
    public RequiresFactAttribute(Need need) => Skip = Prerequisites.ReasonToSkip(need);
}

/// <summary>As <see cref="RequiresFactAttribute"/>, for a theory.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RequiresTheoryAttribute : TheoryAttribute
{
    public RequiresTheoryAttribute(Need need) => Skip = Prerequisites.ReasonToSkip(need);
}

public static class Prerequisites
{
    /// <summary>Null if the need is met or this is CI; otherwise what is missing and how to get it.</summary>
    public static string? ReasonToSkip(Need need) => TestPaths.IsCi ? null : need switch
    {
        Need.TestData => TestPaths.TestData is null ? "set SCRIPTEDSERVE_TEST_DATA to the folder of golden models and tokenizers" : null,
        Need.Node => OnPath("node") && OnPath("npm") ? null : "needs Node.js and npm on PATH",
        Need.PythonMsgpack => File.Exists("/usr/lib/python3/dist-packages/msgpack/__init__.py") ? null : "needs Debian's python3-msgpack",
        Need.Postgres => PostgresServer.WhyUnavailable(),
        Need.CppCompiler => OnPath("g++") && OnPath("bash") ? null : "needs g++ and bash on PATH",
        Need.CudaClang => OnPath("clang++") || OnPath("clang++-14") || OnPath("clang++-15") || OnPath("clang++-16") ? null : "needs Debian's clang on PATH",
        Need.Zsh => OnPath("zsh") ? null : "needs zsh on PATH",
        _ => throw new ArgumentOutOfRangeException(nameof(need)),
    };

    private static bool OnPath(string tool) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(folder => File.Exists(Path.Combine(folder, tool)));
}

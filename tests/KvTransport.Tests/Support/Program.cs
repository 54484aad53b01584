namespace ScriptedServe.KvTransport.Tests.Support;

/// <summary>The test assembly run as a program of its own.</summary>
internal static class Program
{
    private static int Main() => 2;
}

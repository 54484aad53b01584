namespace ScriptedServe.Scripting.Runtime;

/// <summary>
/// The first field of each record class of a script: what the compiler writes for records (Equals, GetHashCode) visits the fields in
/// order, so that a long chain of records, or a ring, is stopped there before it overflows the stack.
/// </summary>
public readonly struct DepthGuard : IEquatable<DepthGuard>
{
    private readonly string? file;
    private readonly int line;

    /// <summary>Runs as a field initialiser, which is a check too.</summary>
    /// <param name="file">The script file.</param>
    /// <param name="line">The line, from 1.</param>
    /// <exception cref="ScriptLimitException">The budget or the stack is used up.</exception>
    public DepthGuard(string file, int line)
    {
        this.file = file;
        this.line = line;
        ScriptGuard.Enter(file, line);
    }

    /// <summary>A check; all guards are equal.</summary>
    /// <param name="other">Another record's.</param>
    public bool Equals(DepthGuard other)
    {
        ScriptGuard.Enter(file ?? "", line);
        return true;
    }

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is DepthGuard other && Equals(other);

    /// <summary>A check; all guards have the same.</summary>
    public override int GetHashCode()
    {
        ScriptGuard.Enter(file ?? "", line);
        return 0;
    }

    /// <summary>As <see cref="Equals(DepthGuard)"/>.</summary>
    public static bool operator ==(DepthGuard left, DepthGuard right) => left.Equals(right);

    /// <summary>As <see cref="Equals(DepthGuard)"/>.</summary>
    public static bool operator !=(DepthGuard left, DepthGuard right) => !left.Equals(right);
}

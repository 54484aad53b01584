using System.CommandLine.Completions;
using System.Text.Json.Nodes;

namespace ScriptedServe.Host.Commands;

/// <summary>Completion in the shell: the script that <c>completion</c> prints, and the names that only a running host knows.</summary>
internal static class ShellCompletion
{
    /// <summary>A shell that waits for a host that does not answer is worse than one that completes nothing.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    public static readonly IReadOnlyList<string> Shells = ["bash", "zsh"];

    /// <summary>To be evaluated by the shell.</summary>
    /// <param name="program">The words that start this program, quoted for the shell.</param>
    public static string Script(string shell, string program) => $$$"""
        # Completion of ScriptedServe's commands in {{{shell}}}. In your shell's startup file: eval "$({{{program}}} completion {{{shell}}})"
        {{{(shell == "zsh" ? "autoload -U +X bashcompinit && bashcompinit" : "")}}}
        scriptedserve() { {{{program}}} "$@"; }
        _scriptedserve() {
            # Without the command's own name, whatever it is.
            local line="${COMP_LINE:${#COMP_WORDS[0]}}" IFS=$'\n'
            local point=$((COMP_POINT - ${#COMP_WORDS[0]}))
            line="${line# }" point=$((point - 1))
            # What is offered may have the word anywhere in it.
            local word="${line:0:${point}}" offered
            word="${word##* }" COMPREPLY=()
            for offered in $({{{program}}} "[suggest:${point}]" "${line}" 2>/dev/null); do
                [[ "${offered}" == "${word}"* ]] && COMPREPLY+=("${offered}")
            done
        }
        complete -o default -F _scriptedserve scriptedserve ScriptedServe.Host

        """;

    /// <summary>How this program was started, for a shell.</summary>
    /// <param name="process">Path of the process: the program itself, or <c>dotnet</c>.</param>
    public static string Program(string? process, string assembly) =>
        process is not null && Path.GetFileNameWithoutExtension(process) != "dotnet" ? Quoted(process) : $"dotnet {Quoted(assembly)}";

    /// <summary>A field of each item that a running host lists; nothing if none answers.</summary>
    /// <param name="connect">Makes the client, or fails.</param>
    /// <param name="list">The list's name in the reply, and of the path.</param>
    public static IEnumerable<CompletionItem> Names(Func<AdminClient> connect, string list, string field, TimeProvider time)
    {
        try
        {
            using var client = connect();
            using var limit = new CancellationTokenSource(Patience, time);

            // Completion is asked for synchronously.
            var reply = Task.Run(() => client.SendAsync(HttpMethod.Get, $"admin/{list}", null, limit.Token)).GetAwaiter().GetResult();
            return [.. ((reply?[list] as JsonArray) ?? []).Select(item => item?[field]?.ToString()).OfType<string>().Select(name => new CompletionItem(name))];
        }
        catch (Exception e) when (e is CommandException or OperationCanceledException)
        {
            return [];
        }
    }

    private static string Quoted(string path) => $"'{path.Replace("'", "'\\''", StringComparison.Ordinal)}'";
}

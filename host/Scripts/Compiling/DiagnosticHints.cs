using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts;

/// <summary>What would put a compiler's error right, for the slips that are common in routers: a misspelt name, a missing await or async.</summary>
internal static class DiagnosticHints
{
    /// <summary>Null where nothing can be told.</summary>
    public static string? For(Diagnostic diagnostic, CSharpCompilation compilation)
    {
        if (diagnostic.Location.SourceTree is not { } tree)
        {
            return null;
        }

        var model = compilation.GetSemanticModel(tree);
        var node = tree.GetRoot().FindNode(diagnostic.Location.SourceSpan, getInnermostNodeForTie: true);
        return diagnostic.Id switch
        {
            // Does not exist: a name, a type, a member.
            "CS0103" => DidYouMean(node, NamesAt(model, node.SpanStart)),
            "CS0246" => DidYouMean(node, model.LookupNamespacesAndTypes(node.SpanStart).Select(type => type.Name)) ?? MayBeReferenced(node),
            "CS1061" or "CS0117" => Member(node, model),

            // Cannot convert: an argument, a value.
            "CS0029" or "CS0266" or "CS1503" => MissingAwait(node, model),

            // await or yield in a function that is not async; async or yield in one that returns something else.
            "CS4032" or "CS4033" or "CS4034" or "CS8403" or "CS1983" or "CS1624" => Form(node),
            _ => null,
        };
    }

    /// <summary>The name that was meant, if one is near.</summary>
    public static string? Nearest(string name, IEnumerable<string> candidates)
    {
        var (best, distance) = candidates.Distinct().Where(candidate => candidate != name && candidate.Length > 0 && candidate[0] != '<')
            .Select(candidate => (candidate, distance: Distance(name, candidate))).DefaultIfEmpty(("", int.MaxValue)).MinBy(one => one.Item2);
        return distance <= Math.Max(1, name.Length / 3) ? best : null;
    }

    private static string? DidYouMean(SyntaxNode node, IEnumerable<string> candidates) =>
        Name(node) is { } name && Nearest(name, candidates) is { } meant ? $"did you mean `{meant}`?" : null;

    private static IEnumerable<string> NamesAt(SemanticModel model, int position) =>
        model.LookupSymbols(position).Select(symbol => symbol.Name).Concat(typeof(RouterGlobals).GetProperties().Select(global => global.Name));

    private static string? Member(SyntaxNode node, SemanticModel model)
    {
        if (Name(node) is not { } name || node.FirstAncestorOrSelf<MemberAccessExpressionSyntax>() is not { } access
            || (model.GetTypeInfo(access.Expression).Type ?? model.GetSymbolInfo(access.Expression).Symbol as ITypeSymbol) is not { } type)
        {
            return null;
        }

        if (Awaited(type) is { } result && model.LookupSymbols(node.SpanStart, result, name, includeReducedExtensionMethods: true).Length > 0)
        {
            return $"`{access.Expression}` gives a Task: write `(await {access.Expression}).{name}`";
        }

        return DidYouMean(node, model.LookupSymbols(node.SpanStart, type, includeReducedExtensionMethods: true).Select(symbol => symbol.Name));
    }

    private static string? MissingAwait(SyntaxNode node, SemanticModel model) =>
        node is ExpressionSyntax or ArgumentSyntax && (node is ArgumentSyntax argument ? argument.Expression : (ExpressionSyntax)node) is { } value
        && Awaited(model.GetTypeInfo(value).Type) is not null
            ? $"write `await {value}`"
            : null;

    private static ITypeSymbol? Awaited(ITypeSymbol? type) =>
        type is INamedTypeSymbol { Name: "Task" or "ValueTask", TypeArguments: [var result] } ? result : null;

    private static string Form(SyntaxNode node)
    {
        var name = node.FirstAncestorOrSelf<SyntaxNode>(IsFunction) switch
        {
            MethodDeclarationSyntax method => method.Identifier.ValueText,
            LocalFunctionStatementSyntax local => local.Identifier.ValueText,
            _ => null,
        };
        return name switch
        {
            EntryPoints.HandleRequest => "with `await` or `yield return` it is `async IAsyncEnumerable<Chunk> HandleRequest(Request request)`",
            null => "`await` stands in an `async` function",
            _ => $"a function with `await` is `async Task {name}(...)`; one that yields chunks too, `async IAsyncEnumerable<Chunk> {name}(...)`",
        };

        static bool IsFunction(SyntaxNode one) => one is MethodDeclarationSyntax or LocalFunctionStatementSyntax or AnonymousFunctionExpressionSyntax;
    }

    private static string? MayBeReferenced(SyntaxNode node) =>
        Name(node) is "JsonSerializer" or "JsonDocument" or "JsonNode" ? "begin the script with `#r \"System.Text.Json\"` and `using System.Text.Json;`" : null;

    private static string? Name(SyntaxNode node) => node switch
    {
        SimpleNameSyntax simple => simple.Identifier.ValueText,
        MemberAccessExpressionSyntax access => access.Name.Identifier.ValueText,
        _ => null,
    };

    /// <summary>Letters to insert, leave out or change, or neighbours to swap; a name within the other counts as one, letters' case as none.</summary>
    private static int Distance(string a, string b)
    {
        if (Math.Min(a.Length, b.Length) >= 4 && (b.Contains(a, StringComparison.OrdinalIgnoreCase) || a.Contains(b, StringComparison.OrdinalIgnoreCase)))
        {
            return a.Length == b.Length ? 0 : 1;
        }

        var rows = new int[a.Length + 1, b.Length + 1];
        for (var i = 0; i <= a.Length; i++)
        {
            for (var j = 0; j <= b.Length; j++)
            {
                rows[i, j] = i == 0 || j == 0 ? i + j : Math.Min(
                    Math.Min(rows[i - 1, j], rows[i, j - 1]) + 1,
                    rows[i - 1, j - 1] + (Same(a[i - 1], b[j - 1]) ? 0 : 1));
                if (i > 1 && j > 1 && Same(a[i - 1], b[j - 2]) && Same(a[i - 2], b[j - 1]))
                {
                    rows[i, j] = Math.Min(rows[i, j], rows[i - 2, j - 2] + 1);
                }
            }
        }

        return rows[a.Length, b.Length];

        static bool Same(char x, char y) => char.ToLowerInvariant(x) == char.ToLowerInvariant(y);
    }
}

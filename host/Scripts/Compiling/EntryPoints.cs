using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts;

/// <summary>The functions a router defines for the host to call, found and checked on the compiled symbols.</summary>
internal static class EntryPoints
{
    public const string HandleRequest = "HandleRequest";
    public const string PlanStrategy = "PlanStrategy";
    public const string OnLoad = "OnLoad";
    public const string OnUnload = "OnUnload";

    private const string HandleRequestForm = "IAsyncEnumerable<Chunk> HandleRequest(Request request)";

    /// <summary>What is wrong with the entry points; each message shows the right form.</summary>
    /// <param name="compilation">A script compilation; it may have errors elsewhere.</param>
    /// <param name="mainFile">Where a missing function is reported.</param>
    public static IEnumerable<RouterDiagnostic> Check(CSharpCompilation compilation, string mainFile)
    {
        var script = compilation.ScriptClass ?? throw new ArgumentException("Not a script compilation", nameof(compilation));
        var functions = script.GetMembers().OfType<IMethodSymbol>().Where(method => method.MethodKind == MethodKind.Ordinary && method.CanBeReferencedByName).ToList();
        var handlers = script.GetMembers(HandleRequest);
        if (handlers.IsEmpty)
        {
            const string wanted = $"a router defines `{HandleRequestForm}`, for example: {HandleRequestForm} => Fleet.LeastLoaded().StartGenerate(request);";
            yield return (functions.Find(method => IsHandler(method, compilation)) ?? functions.Find(method => DiagnosticHints.Nearest(method.Name, [HandleRequest]) is not null)) is { } meant
                ? At(meant, mainFile, ScriptDiagnosticIds.HandleRequestMissing, wanted) with { Hint = $"rename `{meant.Name}` to `{HandleRequest}`" }
                : new RouterDiagnostic(mainFile, 1, 1, ScriptDiagnosticIds.HandleRequestMissing, DiagnosticSeverity.Error, wanted);
        }

        foreach (var member in handlers)
        {
            if (handlers.Length > 1)
            {
                yield return At(member, mainFile, ScriptDiagnosticIds.HandleRequestTwice, $"HandleRequest is defined {handlers.Length} times; the host calls one: `{HandleRequestForm}`");
            }
            else if (!IsHandler(member, compilation) && !HasUnknownTypes(member))
            {
                yield return At(
                    member, mainFile, ScriptDiagnosticIds.HandleRequestSignature,
                    $"this is `{Describe(member)}`; HandleRequest must be a function `{HandleRequestForm}`, or `async {HandleRequestForm}` with `yield return`");
            }
        }

        foreach (var name in (string[])[PlanStrategy, OnLoad, OnUnload])
        {
            if (functions.Find(method => method.Name != name && string.Equals(method.Name, name, StringComparison.OrdinalIgnoreCase)) is { } misspelt)
            {
                yield return At(misspelt, mainFile, ScriptDiagnosticIds.NearlyEntryPoint, $"the host calls `{name}`, not `{misspelt.Name}`") with
                {
                    Severity = DiagnosticSeverity.Warning,
                    Hint = $"rename it to `{name}`",
                };
            }

            var members = script.GetMembers(name);
            foreach (var member in members.Where(member => !HasUnknownTypes(member) && (members.Length > 1 || !IsOptional(member, compilation))))
            {
                yield return At(
                    member, mainFile, ScriptDiagnosticIds.OptionalEntrySignature,
                    $"this is `{Describe(member)}`; {name} must be one function: `void {name}()` or `async Task {name}()`, each with or without a parameter `CancellationToken cancelled`");
            }
        }
    }

    private static bool IsHandler(ISymbol member, CSharpCompilation compilation) =>
        member is IMethodSymbol { Arity: 0, Parameters: [{ RefKind: RefKind.None } parameter], ReturnType: INamedTypeSymbol { TypeArguments: [var item] } returned }
        && Same(parameter.Type, compilation, typeof(Request))
        && Same(returned.OriginalDefinition, compilation, typeof(IAsyncEnumerable<>))
        && Same(item, compilation, typeof(Chunk));

    private static bool IsOptional(ISymbol member, CSharpCompilation compilation) =>
        member is IMethodSymbol { Arity: 0, Parameters.Length: <= 1 } method
        && ((method.ReturnsVoid && !method.IsAsync) || Same(method.ReturnType, compilation, typeof(Task)))
        && method.Parameters.All(parameter => parameter.RefKind == RefKind.None && Same(parameter.Type, compilation, typeof(CancellationToken)));

    /// <summary>The compiler has said already what is wrong with it.</summary>
    private static bool HasUnknownTypes(ISymbol member) =>
        member is IMethodSymbol method && method.Parameters.Select(parameter => parameter.Type).Append(method.ReturnType)
            .Any(type => type.TypeKind == TypeKind.Error || (type is INamedTypeSymbol named && named.TypeArguments.Any(argument => argument.TypeKind == TypeKind.Error)));

    private static bool Same(ITypeSymbol symbol, CSharpCompilation compilation, Type type) =>
        SymbolEqualityComparer.Default.Equals(symbol, compilation.GetTypeByMetadataName(type.FullName!));

    private static string Describe(ISymbol member) => member is IMethodSymbol method
        ? $"{(method.IsAsync ? "async " : "")}{method.ReturnType.ToMinimalName()} {method.Name}({string.Join(", ", method.Parameters.Select(parameter => parameter.Type.ToMinimalName()))})"
        : $"a {member.Kind.ToString().ToLowerInvariant()}";

    private static string ToMinimalName(this ITypeSymbol type) => type.ToDisplayString(SymbolDisplayFormat.MinimallyQualifiedFormat);

    private static RouterDiagnostic At(ISymbol symbol, string mainFile, string id, string message)
    {
        var span = symbol.Locations.FirstOrDefault(location => location.IsInSource)?.GetLineSpan();
        return span is { } at
            ? new RouterDiagnostic(at.Path, at.StartLinePosition.Line + 1, at.StartLinePosition.Character + 1, id, DiagnosticSeverity.Error, message)
            {
                EndColumn = at.EndLinePosition.Character + 1,
            }
            : new RouterDiagnostic(mainFile, 1, 1, id, DiagnosticSeverity.Error, message);
    }
}

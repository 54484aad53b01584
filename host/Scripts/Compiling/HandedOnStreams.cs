using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// Finds the loops that hand on a stream whole: <c>await foreach (var chunk in stream) yield return chunk;</c> in HandleRequest. No catch clause can
/// be around a <c>yield return</c>, so who reads the stream makes no difference to the script, as long as the host alone calls HandleRequest.
/// </summary>
internal sealed class HandedOnStreams(SemanticModel model)
{
    private readonly bool _hostAloneCalls = model.Compilation.SyntaxTrees
        .SelectMany(tree => tree.GetRoot().DescendantNodes().OfType<SimpleNameSyntax>())
        .All(name => name.Identifier.ValueText != EntryPoints.HandleRequest);

    public bool IsWhole(ForEachStatementSyntax loop) =>
        _hostAloneCalls
        && loop.AwaitKeyword.IsKind(SyntaxKind.AwaitKeyword)
        && Yielded(loop.Statement) is IdentifierNameSyntax yielded && yielded.Identifier.ValueText == loop.Identifier.ValueText
        && IsInHandleRequest(loop)
        && IsStream(model.GetTypeInfo(loop.Expression).Type);

    private static ExpressionSyntax? Yielded(StatementSyntax body) => body switch
    {
        YieldStatementSyntax { RawKind: (int)SyntaxKind.YieldReturnStatement } yields => yields.Expression,
        BlockSyntax { Statements: [var only] } => Yielded(only),
        _ => null,
    };

    private static bool IsInHandleRequest(ForEachStatementSyntax loop)
    {
        var function = loop.Ancestors().First(node => node is AnonymousFunctionExpressionSyntax or LocalFunctionStatementSyntax or BaseMethodDeclarationSyntax or CompilationUnitSyntax);
        return function is MethodDeclarationSyntax { Identifier.ValueText: EntryPoints.HandleRequest, Parent: GlobalStatementSyntax or CompilationUnitSyntax };
    }

    // Not what merely can be read like one: that may be read in another way.
    private bool IsStream(ITypeSymbol? type) => type is INamedTypeSymbol { TypeArguments: [var item] } stream
        && Same(stream.OriginalDefinition, typeof(IAsyncEnumerable<>)) && Same(item, typeof(Chunk));

    private bool Same(ITypeSymbol symbol, Type type) => SymbolEqualityComparer.Default.Equals(symbol, model.Compilation.GetTypeByMetadataName(type.FullName!));
}

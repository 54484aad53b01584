using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace ScriptedServe.Host.Scripts;

/// <summary>Finds what <see cref="ScriptApiRules"/> refuse: on symbols, so that aliases and extension syntax do not hide it.</summary>
internal sealed class ScriptApiCheck(ScriptApiRules rules, SemanticModel model, string path) : CSharpSyntaxWalker
{
    private const string AsyncVoid = "SS0112";
    private readonly HashSet<(int Line, string Id)> _said = [];
    private readonly List<RouterDiagnostic> _found = [];

    public static IEnumerable<RouterDiagnostic> Check(ScriptApiRules rules, CSharpCompilation compilation)
    {
        foreach (var tree in compilation.SyntaxTrees)
        {
            var check = new ScriptApiCheck(rules, compilation.GetSemanticModel(tree), tree.FilePath);
            check.Visit(tree.GetRoot());
            foreach (var diagnostic in check._found)
            {
                yield return diagnostic;
            }
        }
    }

    public override void VisitIdentifierName(IdentifierNameSyntax node) => Look(node);

    public override void VisitGenericName(GenericNameSyntax node)
    {
        Look(node);
        base.VisitGenericName(node);
    }

    public override void VisitImplicitObjectCreationExpression(ImplicitObjectCreationExpressionSyntax node)
    {
        Look(node);
        base.VisitImplicitObjectCreationExpression(node);
    }

    public override void VisitUnsafeStatement(UnsafeStatementSyntax node)
    {
        Native(node.UnsafeKeyword);
        base.VisitUnsafeStatement(node);
    }

    public override void VisitPointerType(PointerTypeSyntax node)
    {
        Native(node.AsteriskToken);
        base.VisitPointerType(node);
    }

    public override void VisitFunctionPointerType(FunctionPointerTypeSyntax node)
    {
        Native(node.DelegateKeyword);
        base.VisitFunctionPointerType(node);
    }

    public override void VisitDestructorDeclaration(DestructorDeclarationSyntax node)
    {
        Say(node.TildeToken, "SS0111", DiagnosticSeverity.Error, "a finalizer runs outside every request and cannot be stopped: dispose what must be given back");
        base.VisitDestructorDeclaration(node);
    }

    public override void VisitMethodDeclaration(MethodDeclarationSyntax node)
    {
        Modifiers(node.Modifiers);
        CheckAsyncVoid(node.Identifier, model.GetDeclaredSymbol(node));
        base.VisitMethodDeclaration(node);
    }

    public override void VisitLocalFunctionStatement(LocalFunctionStatementSyntax node)
    {
        Modifiers(node.Modifiers);
        CheckAsyncVoid(node.Identifier, model.GetDeclaredSymbol(node));
        base.VisitLocalFunctionStatement(node);
    }

    public override void VisitParenthesizedLambdaExpression(ParenthesizedLambdaExpressionSyntax node)
    {
        CheckAsyncVoid(node.ArrowToken, model.GetSymbolInfo(node).Symbol);
        base.VisitParenthesizedLambdaExpression(node);
    }

    public override void VisitSimpleLambdaExpression(SimpleLambdaExpressionSyntax node)
    {
        CheckAsyncVoid(node.ArrowToken, model.GetSymbolInfo(node).Symbol);
        base.VisitSimpleLambdaExpression(node);
    }

    public override void VisitAnonymousMethodExpression(AnonymousMethodExpressionSyntax node)
    {
        CheckAsyncVoid(node.DelegateKeyword, model.GetSymbolInfo(node).Symbol);
        base.VisitAnonymousMethodExpression(node);
    }

    private void CheckAsyncVoid(SyntaxToken at, ISymbol? symbol)
    {
        if (symbol is IMethodSymbol { IsAsync: true, ReturnsVoid: true })
        {
            Say(at, AsyncVoid, DiagnosticSeverity.Error, "an exception in an `async void` function would end the host: return Task and await it");
        }
    }

    private void Modifiers(SyntaxTokenList modifiers)
    {
        foreach (var modifier in modifiers.Where(modifier => modifier.IsKind(SyntaxKind.UnsafeKeyword) || modifier.IsKind(SyntaxKind.ExternKeyword)))
        {
            Native(modifier);
        }
    }

    private void Native(SyntaxToken at) => Say(at, "SS0108", DiagnosticSeverity.Error, "unsafe and native code can bring the host down");

    private void Look(SyntaxNode node)
    {
        var info = model.GetSymbolInfo(node);
        var symbol = (info.Symbol ?? info.CandidateSymbols.FirstOrDefault())?.OriginalDefinition;
        var (type, member) = symbol switch
        {
            INamedTypeSymbol named => (named, null),
            IMethodSymbol { MethodKind: MethodKind.Constructor } constructor => (constructor.ContainingType, null),
            IMethodSymbol { ReducedFrom: { } extension } => (extension.ContainingType, extension.Name),
            IMethodSymbol or IPropertySymbol or IFieldSymbol or IEventSymbol => (symbol.ContainingType, symbol.Name),
            _ => ((INamedTypeSymbol?)null, (string?)null),
        };
        if (type is null || (symbol is INamedTypeSymbol && QualifiesMember(node)) || type.Locations.Any(location => location.IsInSource))
        {
            return;
        }

        var space = type.ContainingNamespace is { IsGlobalNamespace: false } named2 ? named2.ToDisplayString() : "";
        if (rules.Find(space, type.Name, member) is { } rule)
        {
            Say(node.GetFirstToken(), rule.Id, rule.Severity, $"{type.Name}{(member is null ? "" : "." + member)}: {rule.Why}");
        }
        else if (symbol is IMethodSymbol { Name: "Delay", ContainingType.Name: "Task" } delay
            && space == "System.Threading.Tasks" && delay.Parameters.All(parameter => parameter.Type.Name != nameof(TimeProvider)))
        {
            Say(node.GetFirstToken(), "SS0109", DiagnosticSeverity.Warning, "use Task.Delay(delay, Time), so that the script also runs on simulated time");
        }
    }

    // In Environment.NewLine the rule for the member decides, and it is looked up for the member's name.
    private bool QualifiesMember(SyntaxNode node)
    {
        var whole = node.Parent is MemberAccessExpressionSyntax qualified && qualified.Name == node ? qualified : node;
        return whole.Parent is MemberAccessExpressionSyntax access && access.Expression == whole
            && model.GetSymbolInfo(access).Symbol is { } member and not INamespaceOrTypeSymbol && member.IsStatic;
    }

    private void Say(SyntaxToken at, string id, DiagnosticSeverity severity, string message)
    {
        var start = at.GetLocation().GetLineSpan().StartLinePosition;
        if (_said.Add((start.Line, id)))
        {
            _found.Add(new RouterDiagnostic(path, start.Line + 1, start.Character + 1, id, severity, message));
        }
    }
}

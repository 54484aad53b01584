using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace ScriptedServe.Host.Scripts;

/// <summary>Finds what <see cref="ScriptApiRules"/> refuse: on symbols, so that aliases and extension syntax do not hide it.</summary>
internal sealed class ScriptApiCheck(ScriptApiRules rules, SemanticModel model, string path) : CSharpSyntaxWalker(SyntaxWalkerDepth.Token)
{
    private const string AsyncVoid = "SS0112";

    private static readonly HashSet<SyntaxKind> NativeTokens =
    [
        SyntaxKind.UnsafeKeyword, SyntaxKind.ExternKeyword, SyntaxKind.FixedKeyword, SyntaxKind.StackAllocKeyword,
        SyntaxKind.ArgListKeyword, SyntaxKind.MakeRefKeyword, SyntaxKind.RefTypeKeyword, SyntaxKind.RefValueKeyword,
    ];

    private const int NonBacktracking = 1024;

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

    public override void VisitObjectCreationExpression(ObjectCreationExpressionSyntax node)
    {
        LookAtCall(node, node.ArgumentList);
        base.VisitObjectCreationExpression(node);
    }

    public override void VisitImplicitObjectCreationExpression(ImplicitObjectCreationExpressionSyntax node)
    {
        Look(node);
        LookAtCall(node, node.ArgumentList);
        base.VisitImplicitObjectCreationExpression(node);
    }

    public override void VisitInvocationExpression(InvocationExpressionSyntax node)
    {
        LookAtCall(node, node.ArgumentList);
        base.VisitInvocationExpression(node);
    }

    public override void VisitToken(SyntaxToken token)
    {
        if (NativeTokens.Contains(token.Kind()))
        {
            Say(token, "SS0108", DiagnosticSeverity.Error, $"`{token.Text}`: unsafe and native code, and memory of a size of its own on the stack, can bring the host down");
        }
    }

    public override void VisitDestructorDeclaration(DestructorDeclarationSyntax node)
    {
        Say(node.TildeToken, "SS0111", DiagnosticSeverity.Error, "a finalizer runs outside every request and cannot be stopped: dispose what must be given back");
        base.VisitDestructorDeclaration(node);
    }

    public override void VisitMethodDeclaration(MethodDeclarationSyntax node)
    {
        CheckAsyncVoid(node.Identifier, model.GetDeclaredSymbol(node));
        base.VisitMethodDeclaration(node);
    }

    public override void VisitLocalFunctionStatement(LocalFunctionStatementSyntax node)
    {
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

    private void Look(SyntaxNode node)
    {
        var info = model.GetSymbolInfo(node);
        var symbol = (info.Symbol ?? info.CandidateSymbols.FirstOrDefault())?.OriginalDefinition;
        if (symbol is IDynamicTypeSymbol)
        {
            Say(node.GetFirstToken(), "SS0104", DiagnosticSeverity.Error, "dynamic: what is called is found by reflection, and escapes the checks");
            return;
        }

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

        if (RuleFor(type, member) is { } rule)
        {
            Say(node.GetFirstToken(), rule.Id, rule.Severity, $"{type.Name}{(member is null ? "" : "." + member)}: {rule.Why}");
        }
        else if (ValueOf(symbol) is { } value && RuleFor(value, null) is { Severity: DiagnosticSeverity.Error } escape)
        {
            // However it is come by: x.GetType().Assembly, e.TargetSite, t.AsyncWaitHandle ...
            Say(node.GetFirstToken(), escape.Id, escape.Severity, $"{type.Name}.{member} gives a {value.Name}: {escape.Why}");
        }
    }

    private ApiRule? RuleFor(INamedTypeSymbol type, string? member) =>
        rules.Find(type.ContainingNamespace is { IsGlobalNamespace: false } space ? space.ToDisplayString() : "", type.Name, member);

    private static INamedTypeSymbol? ValueOf(ISymbol? symbol)
    {
        var type = symbol switch
        {
            IMethodSymbol { MethodKind: not MethodKind.Constructor } method => method.ReturnType,
            IPropertySymbol property => property.Type,
            IFieldSymbol field => field.Type,
            _ => null,
        };
        return (type is IArrayTypeSymbol array ? array.ElementType : type) as INamedTypeSymbol;
    }

    /// <summary>Rules on how something is called, where the rules on what is called have nothing to say.</summary>
    private void LookAtCall(ExpressionSyntax node, ArgumentListSyntax? arguments)
    {
        if (model.GetSymbolInfo(node).Symbol is not IMethodSymbol { ContainingType: { } type } method || type.Locations.Any(location => location.IsInSource))
        {
            return;
        }

        var at = node is InvocationExpressionSyntax { Expression: MemberAccessExpressionSyntax access } ? access.Name.GetFirstToken() : node.GetFirstToken();
        if (type is { Name: "Regex", ContainingNamespace.Name: "RegularExpressions" } && method.Parameters.Any(parameter => parameter.Name == "pattern")
            && method.Parameters.All(parameter => parameter.Name != "matchTimeout")
            && arguments?.Arguments.Any(argument => model.GetConstantValue(argument.Expression).Value is int options && (options & NonBacktracking) != 0) != true)
        {
            Say(at, "SS0107", DiagnosticSeverity.Error, "Regex: some patterns take for ever on some texts, and cannot be stopped: pass RegexOptions.NonBacktracking or a matchTimeout");
        }
        else if (type.ContainingNamespace.ToDisplayString() is "System.Threading" or "System.Threading.Tasks"
            && method.Parameters.Any(IsDelay) && !method.Parameters.Any(IsClock)
            && type.GetMembers(method.Name).OfType<IMethodSymbol>().Any(other => other.Parameters.Any(IsDelay) && other.Parameters.Any(IsClock)))
        {
            Say(at, "SS0109", DiagnosticSeverity.Warning, $"pass the clock `Time` to {(method.MethodKind == MethodKind.Constructor ? type.Name : method.Name)}, so that the script also runs on simulated time");
        }

        static bool IsDelay(IParameterSymbol parameter) => parameter.Type.Name == nameof(TimeSpan) || parameter.Name.StartsWith("millisecondsDelay", StringComparison.Ordinal);

        static bool IsClock(IParameterSymbol parameter) => parameter.Type.Name == nameof(TimeProvider);
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

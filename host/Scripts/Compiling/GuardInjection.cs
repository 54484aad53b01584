using System.Globalization;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Text;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// Puts a check into every loop body and query clause, before every <c>goto</c> and at the start of every function of a script, counts its
/// async functions, bounds its locks and the sizes it asks for, and keeps its catch and finally blocks out of the way of what the checks
/// throw. It inserts text and never a line break, so lines stay the author's; columns shift, which is why diagnostics come from the text
/// without it.
/// </summary>
internal sealed class GuardInjection(SemanticModel model, string path) : CSharpSyntaxWalker
{
    private const string Guard = "global::ScriptedServe.Scripting.Runtime.ScriptGuard.";
    private readonly GuardEdits _edits = new();
    private readonly HandedOnStreams _handsOn = new(model);

    /// <summary>The guarded text.</summary>
    /// <param name="model">Of a tree that compiles: it tells whether an expression body's value is returned.</param>
    public static SourceText Inject(SemanticModel model)
    {
        var injection = new GuardInjection(model, model.SyntaxTree.FilePath);
        injection.Visit(model.SyntaxTree.GetRoot());

        return injection._edits.Apply(model.SyntaxTree.GetText());
    }

    public override void VisitWhileStatement(WhileStatementSyntax node)
    {
        Loop(node.Statement);
        base.VisitWhileStatement(node);
    }

    public override void VisitDoStatement(DoStatementSyntax node)
    {
        Loop(node.Statement);
        base.VisitDoStatement(node);
    }

    public override void VisitForStatement(ForStatementSyntax node)
    {
        Loop(node.Statement);
        base.VisitForStatement(node);
    }

    public override void VisitForEachStatement(ForEachStatementSyntax node)
    {
        if (_handsOn.IsWhole(node))
        {
            HandOn(node);
            Visit(node.Expression);
            return;
        }

        Loop(node.Statement);
        base.VisitForEachStatement(node);
    }

    public override void VisitForEachVariableStatement(ForEachVariableStatementSyntax node)
    {
        Loop(node.Statement);
        base.VisitForEachVariableStatement(node);
    }

    public override void VisitGotoStatement(GotoStatementSyntax node)
    {
        Wrap(node, Call("Check", node));
        base.VisitGotoStatement(node);
    }

    public override void VisitCatchClause(CatchClauseSyntax node)
    {
        if (node.Filter is { } filter)
        {
            _edits.Insert(filter.OpenParenToken.Span.End, $"{Guard}Catches()&&(");
            _edits.Close(filter.CloseParenToken.SpanStart, ")");
        }
        else
        {
            _edits.Insert(node.Declaration?.Span.End ?? node.CatchKeyword.Span.End, $" when({Guard}Catches())");
        }

        base.VisitCatchClause(node);
    }

    // Each finally block that failed on the way up would need stack of its own, on top of the one before.
    public override void VisitFinallyClause(FinallyClauseSyntax node)
    {
        if (node.Block.DescendantNodes().Any(inner => inner is InvocationExpressionSyntax or BaseObjectCreationExpressionSyntax))
        {
            _edits.Insert(node.Block.OpenBraceToken.Span.End, $"if({Guard}Catches()){{");
            _edits.Close(node.Block.CloseBraceToken.SpanStart, "}");
        }

        base.VisitFinallyClause(node);
    }

    public override void VisitMethodDeclaration(MethodDeclarationSyntax node)
    {
        Function(node, node.Body, node.ExpressionBody, node.SemicolonToken);
        base.VisitMethodDeclaration(node);
    }

    public override void VisitLocalFunctionStatement(LocalFunctionStatementSyntax node)
    {
        Function(node, node.Body, node.ExpressionBody, node.SemicolonToken);
        base.VisitLocalFunctionStatement(node);
    }

    public override void VisitClassDeclaration(ClassDeclarationSyntax node)
    {
        Initialisers(node);
        base.VisitClassDeclaration(node);
    }

    public override void VisitStructDeclaration(StructDeclarationSyntax node)
    {
        Initialisers(node);
        base.VisitStructDeclaration(node);
    }

    public override void VisitRecordDeclaration(RecordDeclarationSyntax node)
    {
        if (node.ClassOrStructKeyword.IsKind(SyntaxKind.StructKeyword))
        {
            Initialisers(node);
        }
        else
        {
            var field = string.Create(CultureInfo.InvariantCulture, $"private readonly global::ScriptedServe.Scripting.Runtime.DepthGuard __guard{node.SpanStart}=new({At(node)});");
            if (node.OpenBraceToken.IsKind(SyntaxKind.None))
            {
                _edits.Replace(node.SemicolonToken.Span, "{" + field + "}");
            }
            else
            {
                _edits.Insert(node.OpenBraceToken.Span.End, field);
            }
        }

        base.VisitRecordDeclaration(node);
    }

    // Two that wait for each other's locks would hold their threads for ever.
    public override void VisitLockStatement(LockStatementSyntax node)
    {
        var n = node.SpanStart.ToString(CultureInfo.InvariantCulture);
        _edits.Replace(node.LockKeyword.Span, $"{{var __lock{n}=");
        _edits.Insert(node.CloseParenToken.Span.End, $";var __taken{n}=false;try{{{Guard}Lock({At(node)},__lock{n},ref __taken{n});");
        _edits.Close(node.Statement.Span.End, $"}}finally{{if(__taken{n}){Guard}Unlock(__lock{n});}}}}");
        base.VisitLockStatement(node);
    }

    public override void VisitWhereClause(WhereClauseSyntax node)
    {
        _edits.Insert(node.Condition.SpanStart, $"{Guard}Entered({At(node)})&&(");
        _edits.Close(node.Condition.Span.End, ")");
        base.VisitWhereClause(node);
    }

    public override void VisitSelectClause(SelectClauseSyntax node)
    {
        Pass(node.Expression);
        base.VisitSelectClause(node);
    }

    public override void VisitLetClause(LetClauseSyntax node)
    {
        Pass(node.Expression);
        base.VisitLetClause(node);
    }

    public override void VisitOrdering(OrderingSyntax node)
    {
        Pass(node.Expression);
        base.VisitOrdering(node);
    }

    public override void VisitGroupClause(GroupClauseSyntax node)
    {
        Pass(node.ByExpression);
        base.VisitGroupClause(node);
    }

    public override void VisitArrayRankSpecifier(ArrayRankSpecifierSyntax node)
    {
        if (node.Parent is ArrayTypeSyntax { Parent: ArrayCreationExpressionSyntax { Initializer: null } } array && node.Sizes is [{ } size]
            && node == array.RankSpecifiers[0] && model.GetTypeInfo(array).Type is IArrayTypeSymbol type)
        {
            Size(size, BytesOf(type.ElementType));
        }

        base.VisitArrayRankSpecifier(node);
    }

    public override void VisitObjectCreationExpression(ObjectCreationExpressionSyntax node)
    {
        Sizes(node, node.ArgumentList);
        base.VisitObjectCreationExpression(node);
    }

    public override void VisitImplicitObjectCreationExpression(ImplicitObjectCreationExpressionSyntax node)
    {
        Sizes(node, node.ArgumentList);
        base.VisitImplicitObjectCreationExpression(node);
    }

    public override void VisitInvocationExpression(InvocationExpressionSyntax node)
    {
        Sizes(node, node.ArgumentList);
        base.VisitInvocationExpression(node);
    }

    public override void VisitPrimaryConstructorBaseType(PrimaryConstructorBaseTypeSyntax node)
    {
        FirstArgument(node.ArgumentList);
        base.VisitPrimaryConstructorBaseType(node);
    }

    public override void VisitConstructorDeclaration(ConstructorDeclarationSyntax node)
    {
        if (node.Initializer is { } chained)
        {
            FirstArgument(chained.ArgumentList);
        }

        Function(node, node.Body, node.ExpressionBody, node.SemicolonToken);
        base.VisitConstructorDeclaration(node);
    }

    public override void VisitOperatorDeclaration(OperatorDeclarationSyntax node)
    {
        Function(node, node.Body, node.ExpressionBody, node.SemicolonToken);
        base.VisitOperatorDeclaration(node);
    }

    public override void VisitConversionOperatorDeclaration(ConversionOperatorDeclarationSyntax node)
    {
        Function(node, node.Body, node.ExpressionBody, node.SemicolonToken);
        base.VisitConversionOperatorDeclaration(node);
    }

    public override void VisitAccessorDeclaration(AccessorDeclarationSyntax node)
    {
        Function(node, node.Body, node.ExpressionBody, node.SemicolonToken);
        base.VisitAccessorDeclaration(node);
    }

    public override void VisitPropertyDeclaration(PropertyDeclarationSyntax node)
    {
        Getter(node, node.ExpressionBody, node.SemicolonToken);
        base.VisitPropertyDeclaration(node);
    }

    public override void VisitIndexerDeclaration(IndexerDeclarationSyntax node)
    {
        Getter(node, node.ExpressionBody, node.SemicolonToken);
        base.VisitIndexerDeclaration(node);
    }

    public override void VisitAnonymousMethodExpression(AnonymousMethodExpressionSyntax node)
    {
        Lambda(node);
        base.VisitAnonymousMethodExpression(node);
    }

    public override void VisitSimpleLambdaExpression(SimpleLambdaExpressionSyntax node)
    {
        Lambda(node);
        base.VisitSimpleLambdaExpression(node);
    }

    public override void VisitParenthesizedLambdaExpression(ParenthesizedLambdaExpressionSyntax node)
    {
        Lambda(node);
        base.VisitParenthesizedLambdaExpression(node);
    }

    private void Loop(StatementSyntax body)
    {
        if (body is BlockSyntax block)
        {
            _edits.Insert(block.OpenBraceToken.Span.End, Call("Check", body.Parent!));
        }
        else
        {
            Wrap(body, Call("Check", body.Parent!));
        }
    }

    private void HandOn(ForEachStatementSyntax node)
    {
        var stream = node.Expression.Span;
        _edits.Replace(TextSpan.FromBounds(node.SpanStart, stream.Start), $"yield return {Guard}HandOn(" + Breaks(node.SpanStart, stream.Start));
        _edits.Replace(TextSpan.FromBounds(stream.End, node.Span.End), ");" + Breaks(stream.End, node.Span.End));

        string Breaks(int start, int end) => new('\n', model.SyntaxTree.GetText().ToString(TextSpan.FromBounds(start, end)).Count(c => c == '\n'));
    }

    private void Wrap(StatementSyntax statement, string before)
    {
        _edits.Insert(statement.SpanStart, "{" + before);
        _edits.Close(statement.Span.End, "}");
    }

    private void Function(SyntaxNode node, BlockSyntax? body, ArrowExpressionClauseSyntax? arrow, SyntaxToken semicolon)
    {
        var method = model.GetDeclaredSymbol(node) as IMethodSymbol;
        var (begin, end) = Around(node, method);
        if (body is not null)
        {
            _edits.Insert(body.OpenBraceToken.Span.End, begin);
            _edits.Close(body.CloseBraceToken.SpanStart, end);
        }
        else if (arrow is not null)
        {
            _edits.Replace(arrow.ArrowToken.Span, "{" + begin + Return(arrow.Expression, method));
            _edits.Replace(semicolon.Span, ";" + end + "}");
        }
    }

    private (string Begin, string End) Around(SyntaxNode node, IMethodSymbol? method) => method is { IsAsync: true }
        ? (Call("EnterAsync", node) + "try{", $"}}finally{{{Guard}LeaveAsync();}}")
        : (Call("Enter", node), "");

    private void Getter(SyntaxNode node, ArrowExpressionClauseSyntax? arrow, SyntaxToken semicolon)
    {
        if (arrow is not null)
        {
            _edits.Replace(arrow.ArrowToken.Span, "{get{" + Call("Enter", node) + Return(arrow.Expression, null));
            _edits.Replace(semicolon.Span, ";}}");
        }
    }

    // Initialisers run before the constructor's body, and without any constructor in sight: a field of our own comes first among them.
    private void Initialisers(TypeDeclarationSyntax node)
    {
        var any = node.Members.Any(member => !member.Modifiers.Any(SyntaxKind.StaticKeyword) && !member.Modifiers.Any(SyntaxKind.ConstKeyword) && member switch
        {
            FieldDeclarationSyntax field => field.Declaration.Variables.Any(variable => variable.Initializer is not null),
            PropertyDeclarationSyntax property => property.Initializer is not null,
            _ => false,
        });
        if (any)
        {
            _edits.Insert(node.OpenBraceToken.Span.End, string.Create(
                CultureInfo.InvariantCulture, $"private readonly bool __guard{node.SpanStart}={Call("Entered", node)}"));
        }
    }

    // The arguments of this(...) and base(...) come before everything else.
    private void FirstArgument(ArgumentListSyntax arguments)
    {
        foreach (var argument in arguments.Arguments)
        {
            var expression = argument.Expression;
            if (argument.RefKindKeyword.IsKind(SyntaxKind.None) && !model.GetConstantValue(expression).HasValue
                && model.GetTypeInfo(expression).Type is { IsRefLikeType: false, TypeKind: not TypeKind.Error })
            {
                _edits.Insert(expression.SpanStart, $"{Call("Entered", expression)[..^1]}?(");
                _edits.Close(expression.Span.End, "):default");
                return;
            }
        }
    }

    private void Lambda(AnonymousFunctionExpressionSyntax node)
    {
        var method = model.GetSymbolInfo(node).Symbol as IMethodSymbol;
        var (begin, end) = Around(node, method);
        if (node.Block is { } block)
        {
            _edits.Insert(block.OpenBraceToken.Span.End, begin);
            _edits.Close(block.CloseBraceToken.SpanStart, end);
        }
        else if (node.ExpressionBody is { } expression && model.GetTypeInfo(node).ConvertedType?.TypeKind == TypeKind.Delegate)
        {
            // Not for expression trees, which cannot hold statements.
            _edits.Insert(expression.SpanStart, "{" + begin + Return(expression, method));
            _edits.Close(expression.Span.End, ";" + end + "}");
        }
    }

    private static string Return(ExpressionSyntax expression, IMethodSymbol? method)
    {
        var noValue = method is not null && (method.ReturnsVoid
            || (method.IsAsync && method.ReturnType is INamedTypeSymbol { Arity: 0 }));
        return noValue || expression is ThrowExpressionSyntax ? "" : "return ";
    }

    private void Pass(ExpressionSyntax value)
    {
        _edits.Insert(value.SpanStart, $"{Guard}Pass({At(value)},");
        _edits.Close(value.Span.End, ")");
    }

    // Library calls that allocate as much as they are told: new List<T>(capacity), new string(c, count), PadLeft(totalWidth) ...
    private void Sizes(ExpressionSyntax node, ArgumentListSyntax? arguments)
    {
        if (arguments is not { Arguments.Count: > 0 } || model.GetSymbolInfo(node).Symbol is not IMethodSymbol { Locations: [{ IsInMetadata: true }, ..] } method
            || !(method.MethodKind == MethodKind.Constructor || method.Name is "PadLeft" or "PadRight" or "EnsureCapacity" or "Resize" or "Rent"))
        {
            return;
        }

        for (var i = 0; i < arguments.Arguments.Count; i++)
        {
            var argument = arguments.Arguments[i];
            var parameter = argument.NameColon is { } named
                ? method.Parameters.FirstOrDefault(one => one.Name == named.Name.Identifier.ValueText)
                : method.Parameters.ElementAtOrDefault(i);
            if (argument.RefKindKeyword.IsKind(SyntaxKind.None)
                && parameter?.Name is "capacity" or "count" or "length" or "totalWidth" or "newSize" or "minimumLength" or "initialCapacity")
            {
                Size(argument.Expression, bytes: method.ContainingType.SpecialType == SpecialType.System_String ? sizeof(char) : IntPtr.Size);
            }
        }
    }

    private void Size(ExpressionSyntax count, int bytes)
    {
        if (model.GetTypeInfo(count).Type?.SpecialType is SpecialType.System_Int32 or SpecialType.System_Int64 && model.GetConstantValue(count).Value is not (int and >= 0 and < 1024))
        {
            _edits.Insert(count.SpanStart, string.Create(CultureInfo.InvariantCulture, $"{Guard}Size({At(count)},{bytes},"));
            _edits.Close(count.Span.End, ")");
        }
    }

    private static int BytesOf(ITypeSymbol type) => type.SpecialType switch
    {
        SpecialType.System_Byte or SpecialType.System_SByte or SpecialType.System_Boolean => 1,
        SpecialType.System_Char or SpecialType.System_Int16 or SpecialType.System_UInt16 => 2,
        SpecialType.System_Int32 or SpecialType.System_UInt32 or SpecialType.System_Single => 4,
        SpecialType.System_Decimal => 16,
        _ => 8,
    };

    private string Call(string check, SyntaxNode node) => $"{Guard}{check}({At(node)});";

    /// <summary>File and line, as the checks take them.</summary>
    private string At(SyntaxNode node)
    {
        var line = node.GetLocation().GetLineSpan().StartLinePosition.Line + 1;
        return string.Create(CultureInfo.InvariantCulture, $"{SymbolDisplay.FormatLiteral(path, quote: true)},{line}");
    }
}

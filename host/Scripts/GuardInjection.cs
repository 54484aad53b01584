using System.Globalization;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Text;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// Puts a check into every loop body, before every <c>goto</c> and at the start of every function of a script, and keeps its catch and
/// finally blocks out of the way of what the checks throw. It inserts text and
/// never a line break, so lines stay the author's; columns shift, which is why diagnostics come from the text without it.
/// </summary>
internal sealed class GuardInjection(SemanticModel model, string path) : CSharpSyntaxWalker
{
    private const string Guard = "global::ScriptedServe.Scripting.Runtime.ScriptGuard.";
    private readonly List<(TextSpan Span, string Text)> _edits = [];

    /// <summary>The guarded text.</summary>
    /// <param name="model">Of a tree that compiles: it tells whether an expression body's value is returned.</param>
    public static SourceText Inject(SemanticModel model)
    {
        var injection = new GuardInjection(model, model.SyntaxTree.FilePath);
        injection.Visit(model.SyntaxTree.GetRoot());

        // Insertions at one place are equal or nest outside-in in the order they were made, so a stable sort keeps them right.
        var changes = injection._edits.OrderBy(edit => edit.Span.Start).Select(edit => new TextChange(edit.Span, edit.Text));
        return model.SyntaxTree.GetText().WithChanges(changes);
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
            Insert(filter.OpenParenToken.Span.End, $"{Guard}Catches()&&(");
            Insert(filter.CloseParenToken.SpanStart, ")");
        }
        else
        {
            Insert(node.Declaration?.Span.End ?? node.CatchKeyword.Span.End, $" when({Guard}Catches())");
        }

        base.VisitCatchClause(node);
    }

    // Each finally block that failed on the way up would need stack of its own, on top of the one before.
    public override void VisitFinallyClause(FinallyClauseSyntax node)
    {
        if (node.Block.DescendantNodes().Any(inner => inner is InvocationExpressionSyntax or BaseObjectCreationExpressionSyntax))
        {
            Insert(node.Block.OpenBraceToken.Span.End, $"if({Guard}Catches()){{");
            Insert(node.Block.CloseBraceToken.SpanStart, "}");
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
        Initialisers(node);
        base.VisitRecordDeclaration(node);
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
        Insert(node.Block.OpenBraceToken.Span.End, Call("Enter", node));
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
            Insert(block.OpenBraceToken.Span.End, Call("Check", body.Parent!));
        }
        else
        {
            Wrap(body, Call("Check", body.Parent!));
        }
    }

    private void Wrap(StatementSyntax statement, string before)
    {
        Insert(statement.SpanStart, "{" + before);
        Insert(statement.Span.End, "}");
    }

    private void Function(SyntaxNode node, BlockSyntax? body, ArrowExpressionClauseSyntax? arrow, SyntaxToken semicolon)
    {
        if (body is not null)
        {
            Insert(body.OpenBraceToken.Span.End, Call("Enter", node));
        }
        else if (arrow is not null)
        {
            Replace(arrow.ArrowToken.Span, "{" + Call("Enter", node) + Return(arrow.Expression, model.GetDeclaredSymbol(node) as IMethodSymbol));
            Replace(semicolon.Span, ";}");
        }
    }

    private void Getter(SyntaxNode node, ArrowExpressionClauseSyntax? arrow, SyntaxToken semicolon)
    {
        if (arrow is not null)
        {
            Replace(arrow.ArrowToken.Span, "{get{" + Call("Enter", node) + Return(arrow.Expression, null));
            Replace(semicolon.Span, ";}}");
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
            Insert(node.OpenBraceToken.Span.End, string.Create(
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
                Insert(expression.SpanStart, $"{Call("Entered", expression)[..^1]}?(");
                Insert(expression.Span.End, "):default");
                return;
            }
        }
    }

    private void Lambda(LambdaExpressionSyntax node)
    {
        if (node.Block is { } block)
        {
            Insert(block.OpenBraceToken.Span.End, Call("Enter", node));
        }
        else if (node.ExpressionBody is { } expression && model.GetTypeInfo(node).ConvertedType?.TypeKind == TypeKind.Delegate)
        {
            // Not for expression trees, which cannot hold statements.
            Insert(expression.SpanStart, "{" + Call("Enter", node) + Return(expression, model.GetSymbolInfo(node).Symbol as IMethodSymbol));
            Insert(expression.Span.End, ";}");
        }
    }

    private static string Return(ExpressionSyntax expression, IMethodSymbol? method)
    {
        var noValue = method is not null && (method.ReturnsVoid
            || (method.IsAsync && method.ReturnType is INamedTypeSymbol { Arity: 0 }));
        return noValue || expression is ThrowExpressionSyntax ? "" : "return ";
    }

    private string Call(string check, SyntaxNode node)
    {
        var line = node.GetLocation().GetLineSpan().StartLinePosition.Line + 1;
        return string.Create(CultureInfo.InvariantCulture, $"{Guard}{check}({SymbolDisplay.FormatLiteral(path, quote: true)},{line});");
    }

    private void Insert(int position, string text) => _edits.Add((new TextSpan(position, 0), text));

    private void Replace(TextSpan span, string text) => _edits.Add((span, text));
}

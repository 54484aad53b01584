using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Operations;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// Tells whether no turn of a HandleRequest, from one await to the next, can take long: it has no loop but those that hand on a stream whole, calls nothing but members of the host's fleet, engines, request and options,
/// and computes with numbers, truth values and references alone. What is not known to be short is not.
/// </summary>
internal sealed class ShortTurns
{
    private static readonly Type[] s_hosts =
        [typeof(RouterGlobals), typeof(RouterFleet), typeof(EngineSet), typeof(Engine), typeof(EngineLoad), typeof(KvReservation), typeof(SendResult), typeof(Request), typeof(RouterOptions), typeof(Math)];

    private readonly SemanticModel _model;
    private readonly HashSet<ISymbol?> _hosts;
    private readonly HandedOnStreams _handsOn;

    private ShortTurns(SemanticModel model)
    {
        _model = model;
        _hosts = new(s_hosts.Select(type => (ISymbol?)model.Compilation.GetTypeByMetadataName(type.FullName!)), SymbolEqualityComparer.Default);
        _handsOn = new HandedOnStreams(model);
    }

    /// <param name="compilation">A script's, without errors.</param>
    public static bool Has(CSharpCompilation compilation)
    {
        // A type of the script's own may be behind any of the host's.
        if (compilation.SyntaxTrees.Any(tree => tree.GetRoot().DescendantNodes().Any(node => node is BaseTypeDeclarationSyntax))
            || compilation.ScriptClass?.GetMembers(EntryPoints.HandleRequest) is not [IMethodSymbol { DeclaringSyntaxReferences: [var declared] }])
        {
            return false;
        }

        var model = compilation.GetSemanticModel(declared.SyntaxTree);
        var turns = new ShortTurns(model);
        return model.GetOperation(declared.GetSyntax()) is { } body && body.DescendantsAndSelf().All(turns.IsShort);
    }

    private bool IsShort(IOperation operation) => operation switch
    {
        IInvocationOperation call => IsHosts(call.TargetMethod),
        IPropertyReferenceOperation read => IsHosts(read.Property),
        IForEachLoopOperation loop => loop.Syntax is ForEachStatementSyntax syntax && _handsOn.IsWhole(syntax),

        // A global of the script's.
        { Kind: OperationKind.None, Syntax: IdentifierNameSyntax name } => _model.GetSymbolInfo(name).Symbol is IPropertySymbol global && IsHosts(global),
        IBinaryOperation binary => binary.OperatorMethod is null && !IsText(binary.LeftOperand) && !IsText(binary.RightOperand),
        IUnaryOperation unary => unary.OperatorMethod is null,
        IConversionOperation conversion => conversion.OperatorMethod is null,
        ISimpleAssignmentOperation assignment => assignment.Target is ILocalReferenceOperation,
        IMethodBodyOperation or IBlockOperation or IExpressionStatementOperation or IReturnOperation or IEmptyOperation
            or IVariableDeclarationGroupOperation or IVariableDeclarationOperation or IVariableDeclaratorOperation or IVariableInitializerOperation
            or ILocalReferenceOperation or IParameterReferenceOperation or IInstanceReferenceOperation or IFieldReferenceOperation { Field.IsConst: true }
            or ILiteralOperation or IDefaultValueOperation or IArgumentOperation
            or IConditionalOperation or ICoalesceOperation or IAwaitOperation or IDelegateCreationOperation or IAnonymousFunctionOperation => true,
        _ => false,
    };

    private bool IsHosts(ISymbol member) => _hosts.Contains(member.ContainingType);

    private static bool IsText(IOperation operand) => operand.Type?.SpecialType == SpecialType.System_String;
}

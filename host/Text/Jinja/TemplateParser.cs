using System.Runtime.CompilerServices;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>Statements by recursive descent. Templates stand alone: nothing is imported, included or extended.</summary>
internal sealed class TemplateParser
{
    private const string Supported = "for, if, set, macro, call, filter, with, generation, break, continue, raw";

    private readonly TokenReader tokens;
    private readonly ExpressionParser expressions;
    private int loops;

    private TemplateParser(List<JinjaToken> tokens)
    {
        this.tokens = new TokenReader(tokens);
        expressions = new ExpressionParser(this.tokens);
    }

    /// <exception cref="JinjaException">The template is malformed or uses what is not supported; it has the line.</exception>
    public static Sequence Parse(string template)
    {
        try
        {
            var parser = new TemplateParser(JinjaLexer.Read(template));
            return parser.ParseBody();
        }
        catch (InsufficientExecutionStackException)
        {
            throw new JinjaException("the template is nested too deep");
        }
    }

    /// <summary>Statements up to one of the tags named, which is read up to and with its name; without names, up to the end.</summary>
    private Sequence ParseBody(params string[] ends)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        var statements = new List<Statement>();
        while (true)
        {
            var token = tokens.Current;
            switch (token.Kind)
            {
                case JinjaTokenKind.Text:
                    statements.Add(new TextOutput(token.Line, tokens.Take().Text));
                    break;
                case JinjaTokenKind.VariableBegin:
                    tokens.Take();
                    var value = expressions.ParseTuple();
                    tokens.Expect(JinjaTokenKind.VariableEnd, "'}}'");
                    statements.Add(new ValueOutput(token.Line, value));
                    break;
                case JinjaTokenKind.BlockBegin:
                    tokens.Take();
                    if (tokens.Current.Kind == JinjaTokenKind.Name && ends.Contains(tokens.Current.Text))
                    {
                        return new Sequence([.. statements]);
                    }

                    statements.Add(ParseStatement(ends));
                    break;
                case JinjaTokenKind.End when ends.Length == 0:
                    return new Sequence([.. statements]);
                default:
                    throw tokens.Unexpected($"{{% {string.Join(" %} or {% ", ends)} %}}");
            }
        }
    }

    /// <summary>A body and the tag that ends it.</summary>
    private Sequence ParseBlock(string end)
    {
        tokens.Expect(JinjaTokenKind.BlockEnd, "'%}'");
        var body = ParseBody(end);
        tokens.Take();
        tokens.Expect(JinjaTokenKind.BlockEnd, "'%}'");
        return body;
    }

    private Statement ParseStatement(string[] ends)
    {
        var token = tokens.Expect(JinjaTokenKind.Name, "the name of a statement");
        switch (token.Text)
        {
            case "if":
                return ParseIf(token.Line);
            case "for":
                return ParseFor(token.Line);
            case "set":
                return ParseSet(token.Line);
            case "macro":
                var name = tokens.ExpectName("the macro's name");
                tokens.Expect("(");
                return new DefineMacro(token.Line, ParseMacro(name, ParseParameters(), "endmacro"));
            case "call":
                return ParseCall(token.Line);
            case "filter":
                var filters = ParseFilterChain(firstRead: true);
                return new FilterBlock(token.Line, ParseBlock("endfilter"), filters);
            case "with":
                return ParseWith(token.Line);
            case "generation":
                return new Generation(token.Line, ParseBlock("endgeneration"));
            case "break" or "continue" when loops > 0:
                tokens.Expect(JinjaTokenKind.BlockEnd, "'%}'");
                return new LoopControl(token.Line, token.Text == "break" ? Flow.Break : Flow.Continue);
            case "break" or "continue":
                throw new JinjaException($"'{token.Text}' stands outside of a loop", token.Line);
            default:
                var wanted = ends.Length == 0 ? "" : $", or the end of the block begun before: {string.Join(", ", ends)}";
                throw new JinjaException($"the statement '{token.Text}' is not known here; supported are {Supported}{wanted}", token.Line);
        }
    }

    private If ParseIf(int line)
    {
        var branches = new List<(Expression, Sequence)>();
        while (true)
        {
            var condition = expressions.ParseTuple();
            tokens.Expect(JinjaTokenKind.BlockEnd, "'%}'");
            branches.Add((condition, ParseBody("elif", "else", "endif")));
            switch (tokens.Take().Text)
            {
                case "elif":
                    continue;
                case "else":
                    return new If(line, [.. branches], ParseBlock("endif"));
                default:
                    tokens.Expect(JinjaTokenKind.BlockEnd, "'%}'");
                    return new If(line, [.. branches], otherwise: null);
            }
        }
    }

    private For ParseFor(int line)
    {
        var target = ParseTargets();
        if (!tokens.TryTakeName("in"))
        {
            throw tokens.Unexpected("'in'");
        }

        var items = expressions.ParseTuple(allowConditional: false);

        var condition = tokens.TryTakeName("if") ? expressions.Parse() : null;
        var isRecursive = tokens.TryTakeName("recursive");

        tokens.Expect(JinjaTokenKind.BlockEnd, "'%}'");
        loops++;
        var body = ParseBody("else", "endfor");
        loops--;
        if (tokens.Take().Text == "else")
        {
            return new For(line, target, items, condition, body, ParseBlock("endfor"), isRecursive);
        }

        tokens.Expect(JinjaTokenKind.BlockEnd, "'%}'");
        return new For(line, target, items, condition, body, otherwise: null, isRecursive);
    }

    private Statement ParseSet(int line)
    {
        var target = ParseTargets();
        if (tokens.TryTake("="))
        {
            var value = expressions.ParseTuple();
            tokens.Expect(JinjaTokenKind.BlockEnd, "'%}'");
            return new Set(line, target, value);
        }

        var filters = ParseFilterChain(firstRead: false);
        return new SetBlock(line, target, ParseBlock("endset"), filters);
    }

    private CallBlock ParseCall(int line)
    {
        (string, Expression?)[] parameters = tokens.TryTake("(") ? ParseParameters() : [];
        var target = expressions.ParseCallTarget();
        tokens.Expect("(");
        var arguments = expressions.ParseArguments();
        return new CallBlock(line, target, arguments, ParseMacro("caller", parameters, "endcall"));
    }

    private With ParseWith(int line)
    {
        var assignments = new List<(Target, Expression)>();
        while (tokens.Current.Kind != JinjaTokenKind.BlockEnd)
        {
            var target = ParseTarget();
            tokens.Expect("=");
            assignments.Add((target, expressions.Parse()));
            if (!tokens.TryTake(",") && tokens.Current.Kind != JinjaTokenKind.BlockEnd)
            {
                throw tokens.Unexpected("',' or '%}'");
            }
        }

        return new With(line, [.. assignments], ParseBlock("endwith"));
    }

    private MacroDefinition ParseMacro(string name, (string, Expression?)[] parameters, string end)
    {
        // A loop outside of a macro is not one for the statements in it.
        var around = loops;
        loops = 0;
        var start = tokens.Position;
        var body = ParseBlock(end);
        loops = around;
        return new MacroDefinition(name, parameters, body, tokens.NamesSince(start));
    }

    /// <summary>Parameters with defaults, the opening parenthesis already read.</summary>
    private (string, Expression?)[] ParseParameters()
    {
        var parameters = new List<(string, Expression?)>();
        while (!tokens.TryTake(")"))
        {
            var name = tokens.ExpectName("a parameter");
            parameters.Add((name, tokens.TryTake("=") ? expressions.Parse() : null));
            if (!tokens.TryTake(",") && !tokens.Current.Is(")"))
            {
                throw tokens.Unexpected("',' or ')'");
            }
        }

        return [.. parameters];
    }

    /// <summary>a | b | c; of {% filter %} the first without its bar.</summary>
    private Filter[] ParseFilterChain(bool firstRead)
    {
        var filters = new List<Filter>();
        while (firstRead || tokens.TryTake("|"))
        {
            filters.Add(expressions.ParseFilter(null));
            firstRead = false;
        }

        return [.. filters];
    }

    private Target ParseTargets()
    {
        var first = ParseTarget();
        if (!tokens.Current.Is(","))
        {
            return first;
        }

        var targets = new List<Target> { first };
        while (tokens.TryTake(",") && tokens.Current.Kind != JinjaTokenKind.BlockEnd && !tokens.Current.Is("=") && !tokens.Current.IsName("in"))
        {
            targets.Add(ParseTarget());
        }

        return new TupleTarget([.. targets]);
    }

    private Target ParseTarget()
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        if (tokens.TryTake("("))
        {
            var inner = ParseTargets();
            tokens.Expect(")");
            return inner;
        }

        var name = tokens.ExpectName("a name to assign to");
        return tokens.TryTake(".") ? new NamespaceTarget(name, tokens.ExpectName()) : new NameTarget(name);
    }
}

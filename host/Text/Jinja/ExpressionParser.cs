using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace ScriptedServe.Host.Text.Jinja;

/// <summary>Expressions by recursive descent, in Jinja's order of precedence (lowest first): if-else, or, and, not, comparisons, + -, ~, * / // %, **, signs.</summary>
internal sealed class ExpressionParser(TokenReader tokens)
{
    private static readonly string[] Comparisons = ["==", "!=", "<", "<=", ">", ">="];
    private static readonly string[] NotArguments = ["else", "or", "and", "if", "is", "in", "not", "recursive"];

    /// <summary>An expression, or several joined by commas to a tuple.</summary>
    /// <param name="allowConditional">As for <see cref="Parse(bool)"/>.</param>
    public Expression ParseTuple(bool allowConditional = true)
    {
        var first = Parse(allowConditional);
        if (!tokens.Current.Is(","))
        {
            return first;
        }

        var items = new List<Expression> { first };
        while (tokens.TryTake(",") && !EndsTuple())
        {
            items.Add(Parse(allowConditional));
        }

        return new ListLiteral([.. items], isTuple: true);
    }

    public Expression Parse() => Parse(allowConditional: true);

    /// <param name="allowConditional">False where an 'if' belongs to the statement: for x in y if z.</param>
    public Expression Parse(bool allowConditional)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        var value = ParseOr();
        while (allowConditional && tokens.TryTakeName("if"))
        {
            var condition = ParseOr();
            var otherwise = tokens.TryTakeName("else") ? Parse() : null;
            value = new Conditional(condition, value, otherwise);
        }

        return value;
    }

    /// <summary>The arguments of a call, its opening parenthesis already read.</summary>
    public ArgumentList ParseArguments()
    {
        List<Expression> positional = [];
        List<(string, Expression)> named = [];
        Expression? spread = null, spreadNamed = null;
        while (!tokens.TryTake(")"))
        {
            if (tokens.TryTake("**"))
            {
                spreadNamed = Parse();
            }
            else if (tokens.TryTake("*"))
            {
                spread = Parse();
            }
            else if (tokens.Current.Kind == JinjaTokenKind.Name && tokens.Following.Is("="))
            {
                var name = tokens.Take().Text;
                tokens.Take();
                named.Add((name, Parse()));
            }
            else
            {
                positional.Add(named.Count == 0 && spread is null && spreadNamed is null ? Parse() : throw tokens.Unexpected("a named argument"));
            }

            if (!tokens.TryTake(",") && !tokens.Current.Is(")"))
            {
                throw tokens.Unexpected("',' or ')'");
            }
        }

        return new ArgumentList([.. positional], [.. named], spread, spreadNamed);
    }

    /// <summary>What a call block calls: a name or a member, up to the opening parenthesis.</summary>
    public Expression ParseCallTarget()
    {
        Expression target = new Variable(tokens.ExpectName("the name of a macro"));
        while (tokens.TryTake("."))
        {
            target = new Member(target, tokens.ExpectName());
        }

        return target;
    }

    /// <summary>name or name(arguments) after a '|', which has been read.</summary>
    public Filter ParseFilter(Expression? value)
    {
        var token = tokens.Expect(JinjaTokenKind.Name, "the name of a filter");
        var arguments = tokens.TryTake("(") ? ParseArguments() : ArgumentList.None;
        return AtLine(token.Line, () => new Filter(value, token.Text, arguments));
    }

    private static T AtLine<T>(int line, Func<T> make)
    {
        try
        {
            return make();
        }
        catch (JinjaException error) when (error.Line is null)
        {
            error.Line = line;
            throw;
        }
    }

    private bool EndsTuple() => tokens.Current.Kind is JinjaTokenKind.BlockEnd or JinjaTokenKind.VariableEnd || tokens.Current.Is(")") || tokens.Current.Is("=");

    private Expression ParseOr()
    {
        var left = ParseAnd();
        while (tokens.TryTakeName("or"))
        {
            left = new Logical(isAnd: false, left, ParseAnd());
        }

        return left;
    }

    private Expression ParseAnd()
    {
        var left = ParseNot();
        while (tokens.TryTakeName("and"))
        {
            left = new Logical(isAnd: true, left, ParseNot());
        }

        return left;
    }

    private Expression ParseNot()
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        return tokens.TryTakeName("not") ? new Not(ParseNot()) : ParseComparison();
    }

    private Expression ParseComparison()
    {
        var first = ParseSum();
        var rest = new List<(string, Expression)>();
        while (true)
        {
            var token = tokens.Current;
            if (token.Kind == JinjaTokenKind.Operator && Comparisons.Contains(token.Text))
            {
                tokens.Take();
                rest.Add((token.Text, ParseSum()));
            }
            else if (tokens.TryTakeName("in"))
            {
                rest.Add(("in", ParseSum()));
            }
            else if (token.IsName("not") && tokens.Following.IsName("in"))
            {
                tokens.Take();
                tokens.Take();
                rest.Add(("not in", ParseSum()));
            }
            else
            {
                return rest.Count == 0 ? first : new Comparison(first, [.. rest]);
            }
        }
    }

    private Expression ParseSum() => ParseBinary(ParseConcatenation, "+", "-");

    private Expression ParseConcatenation()
    {
        var parts = new List<Expression> { ParseProduct() };
        while (tokens.TryTake("~"))
        {
            parts.Add(ParseProduct());
        }

        return parts.Count == 1 ? parts[0] : new Concatenation([.. parts]);
    }

    private Expression ParseProduct() => ParseBinary(ParsePower, "*", "/", "//", "%");

    private Expression ParsePower() => ParseBinary(() => ParseSigned(withFilters: true), "**");

    private Expression ParseBinary(Func<Expression> operand, params string[] symbols)
    {
        var left = operand();
        while (tokens.Current.Kind == JinjaTokenKind.Operator && symbols.Contains(tokens.Current.Text))
        {
            left = new Binary(tokens.Take().Text, left, operand());
        }

        return left;
    }

    private Expression ParseSigned(bool withFilters)
    {
        RuntimeHelpers.EnsureSufficientExecutionStack();
        var value = tokens.TryTake("-") ? new Sign(ParseSigned(withFilters: false), negates: true)
            : tokens.TryTake("+") ? new Sign(ParseSigned(withFilters: false), negates: false)
            : ParsePrimary();
        value = ParsePostfix(value);
        return withFilters ? ParseFilters(value) : value;
    }

    private Expression ParsePostfix(Expression value)
    {
        while (true)
        {
            if (tokens.TryTake("."))
            {
                var token = tokens.Take();
                value = token.Kind switch
                {
                    JinjaTokenKind.Name => new Member(value, token.Text),
                    JinjaTokenKind.Integer => new Subscript(value, new Constant(Integer(token.Text))),
                    _ => throw new JinjaException($"expected a name after '.', found {token}", token.Line),
                };
            }
            else if (tokens.TryTake("["))
            {
                value = ParseSubscript(value);
            }
            else if (tokens.TryTake("("))
            {
                value = new Call(value, ParseArguments());
            }
            else
            {
                return value;
            }
        }
    }

    private Expression ParseSubscript(Expression value)
    {
        var bounds = new Expression?[3];
        var colons = 0;
        while (!tokens.TryTake("]"))
        {
            if (tokens.TryTake(":"))
            {
                colons = colons < 2 ? colons + 1 : throw tokens.Unexpected("']'");
            }
            else
            {
                bounds[colons] = bounds[colons] is null ? Parse() : throw tokens.Unexpected("':' or ']'");
            }
        }

        return colons > 0 ? new Slice(value, bounds[0], bounds[1], bounds[2]) : new Subscript(value, bounds[0] ?? throw tokens.Unexpected("an index before ']'"));
    }

    private Expression ParseFilters(Expression value)
    {
        while (true)
        {
            if (tokens.TryTake("|"))
            {
                value = ParseFilter(value);
            }
            else if (tokens.TryTakeName("is"))
            {
                value = ParseTest(value);
            }
            else if (tokens.TryTake("("))
            {
                value = new Call(value, ParseArguments());
            }
            else
            {
                return value;
            }
        }
    }

    private Expression ParseTest(Expression value)
    {
        var negated = tokens.TryTakeName("not");
        var token = tokens.Expect(JinjaTokenKind.Name, "the name of a test");
        var arguments = ArgumentList.None;
        if (tokens.TryTake("("))
        {
            arguments = ParseArguments();
        }
        else if (tokens.Current is { Kind: JinjaTokenKind.Name or JinjaTokenKind.String or JinjaTokenKind.Integer or JinjaTokenKind.Float } next
            ? next.Kind != JinjaTokenKind.Name || !NotArguments.Contains(next.Text)
            : tokens.Current.Is("[") || tokens.Current.Is("{"))
        {
            arguments = new ArgumentList([ParsePostfix(ParsePrimary())], [], null, null);
        }

        Expression test = AtLine(token.Line, () => new Test(value, token.Text, arguments));
        return negated ? new Not(test) : test;
    }

    private Expression ParsePrimary()
    {
        var token = tokens.Take();
        switch (token.Kind)
        {
            case JinjaTokenKind.Name:
                return token.Text switch
                {
                    "true" or "True" => new Constant(true),
                    "false" or "False" => new Constant(false),
                    "none" or "None" => new Constant(null),
                    _ => new Variable(token.Text),
                };
            case JinjaTokenKind.String:
                var text = token.Text;
                while (tokens.Current.Kind == JinjaTokenKind.String)
                {
                    text += tokens.Take().Text; // adjacent strings are one
                }

                return new Constant(text);
            case JinjaTokenKind.Integer:
                return new Constant(Integer(token.Text));
            case JinjaTokenKind.Float:
                return new Constant(double.Parse(token.Text, CultureInfo.InvariantCulture));
            case JinjaTokenKind.Operator when token.Text == "(":
                return ParseParentheses();
            case JinjaTokenKind.Operator when token.Text == "[":
                return ParseList();
            case JinjaTokenKind.Operator when token.Text == "{":
                return ParseDict();
            default:
                throw new JinjaException($"expected an expression, found {token}", token.Line);
        }
    }

    private Expression ParseParentheses()
    {
        if (tokens.TryTake(")"))
        {
            return new ListLiteral([], isTuple: true);
        }

        var value = ParseTuple();
        tokens.Expect(")");
        return value;
    }

    private ListLiteral ParseList()
    {
        var items = new List<Expression>();
        while (!tokens.TryTake("]"))
        {
            items.Add(Parse());
            if (!tokens.TryTake(",") && !tokens.Current.Is("]"))
            {
                throw tokens.Unexpected("',' or ']'");
            }
        }

        return new ListLiteral([.. items], isTuple: false);
    }

    private DictLiteral ParseDict()
    {
        var entries = new List<(Expression, Expression)>();
        while (!tokens.TryTake("}"))
        {
            var key = Parse();
            tokens.Expect(":");
            entries.Add((key, Parse()));
            if (!tokens.TryTake(",") && !tokens.Current.Is("}"))
            {
                throw tokens.Unexpected("',' or '}'");
            }
        }

        return new DictLiteral([.. entries]);
    }

    private static object Integer(string digits) =>
        digits.Length <= 1000 ? JinjaOperators.Shrink(BigInteger.Parse(digits, CultureInfo.InvariantCulture)) : throw new JinjaException("an integer of more than 1000 digits");
}

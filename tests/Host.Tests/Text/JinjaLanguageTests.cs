using System.Text.Json.Nodes;
using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.Tests.Text;

/// <summary>One feature of the template language at a time. Expected values are those of Jinja 3.1 with Hugging Face's settings.</summary>
public class JinjaLanguageTests
{
    [Theory]
    [InlineData("a\n", "a")]
    [InlineData("a\n\n", "a\n")]
    [InlineData("a\r\nb", "a\nb")]
    [InlineData("{% if true %}\nx\n{% endif %}\ny", "x\ny")]
    [InlineData("  {% if true %}x{% endif %}", "x")]
    [InlineData("  {{ 1 }}\n", "  1")]
    [InlineData("a  {%- if true -%}  x  {%- endif -%}  b", "axb")]
    [InlineData("  {%+ if true %}x{% endif +%}\ny", "  x\ny")]
    [InlineData("a {# note #}\nb", "a b")]
    [InlineData("  {# note #}\nb", "b")]
    [InlineData("a {#- note -#} b", "ab")]
    [InlineData("{{- 1 -}}  x", "1x")]
    [InlineData("x\n  {%- set a = 1 %}\n  {{ a }}", "x  1")]
    [InlineData("{% raw %}{{ x }}{% if %}{% endraw %}!", "{{ x }}{% if %}!")]
    [InlineData("{%- raw -%}  a {%- endraw -%}  b", "ab")]
    [InlineData("{{ {'a': {'b': 1}}['a']['b'] }}", "1")]
    [InlineData("{ {a} %} }}", "{ {a} %} }}")]
    [InlineData("{{ '}}' ~ '%}' }}", "}}%}")]
    public void White_space_goes_where_the_settings_say(string template, string expected) => AssertRenders(expected, template);

    [Theory]
    [InlineData(@"'a\n\t\'\x41\u00e9\U0001F600\q\101'", "a\n\t'Aé😀\\qA")]
    [InlineData("'a' \"b\" 'c'", "abc")]
    [InlineData("1_000 + 0x", "error")]
    [InlineData("1.50", "1.5")]
    [InlineData("1e3", "1000.0")]
    [InlineData("1e16", "1e+16")]
    [InlineData("0.0001", "0.0001")]
    [InlineData("0.00001", "1e-05")]
    [InlineData("123456.789", "123456.789")]
    [InlineData("-2.5", "-2.5")]
    [InlineData("[1, 'a', none, True, 2.0]", "[1, 'a', None, True, 2.0]")]
    [InlineData("(1,)", "(1,)")]
    [InlineData("()", "()")]
    [InlineData("1, 2", "(1, 2)")]
    [InlineData("{'a': \"it's\", 1: [1]}", "{'a': \"it's\", 1: [1]}")]
    [InlineData(@"['\n\\é\x00']", @"['\n\\é\x00']")]
    public void Literals_print_as_in_Python(string expression, string expected) => AssertEvaluates(expected, expression);

    [Theory]
    [InlineData("1 + 2 * 3 ** 2", "19")]
    [InlineData("2 ** 3 ** 2", "64")]
    [InlineData("-7 // 2", "-4")]
    [InlineData("-7 % 3", "2")]
    [InlineData("7.5 % 2", "1.5")]
    [InlineData("7 / 2", "3.5")]
    [InlineData("4 / 2", "2.0")]
    [InlineData("9223372036854775807 + 1", "9223372036854775808")]
    [InlineData("1 / 0", "error")]
    [InlineData("'a' + 'b'", "ab")]
    [InlineData("'a' + 1", "error")]
    [InlineData("'ab' * 2", "abab")]
    [InlineData("[1] + [2]", "[1, 2]")]
    [InlineData("'a' ~ 1 ~ none ~ missing", "a1None")]
    [InlineData("1 ~ 2 + 3", "error")]
    [InlineData("1 ~ 2 * 3", "16")]
    [InlineData("1 < 2 < 3 and not 3 < 2", "True")]
    [InlineData("1 == 1.0 and true == 1 and '1' != 1", "True")]
    [InlineData("'a' < 'b' and [1, 2] < [1, 3]", "True")]
    [InlineData("'a' < 1", "error")]
    [InlineData("'b' in 'abc' and 2 in [1, 2] and 'k' in {'k': 1}", "True")]
    [InlineData("'x' not in 'abc' and not 'x' in missing", "True")]
    [InlineData("0 or 'x'", "x")]
    [InlineData("'' and 'x'", "")]
    [InlineData("not missing", "True")]
    [InlineData("'a' if 0 else 'b'", "b")]
    [InlineData("'a' if 0", "")]
    [InlineData("1 if true else 2 if true else 3", "1")]
    [InlineData("-1 | abs", "1")]
    [InlineData("'a' ~ 'B' | lower", "ab")]
    [InlineData("(1, 2) == (1, 2) and [1] != (1,)", "True")]
    public void Operators_are_Python_s(string expression, string expected) => AssertEvaluates(expected, expression);

    [Theory]
    [InlineData("'abcdef'[1:4]", "bcd")]
    [InlineData("'abcdef'[::-1]", "fedcba")]
    [InlineData("'abcdef'[-2:]", "ef")]
    [InlineData("'abcdef'[4:1:-2]", "ec")]
    [InlineData("[1, 2, 3][10:]", "[]")]
    [InlineData("[1, 2, 3][-10:2]", "[1, 2]")]
    [InlineData("[1, 2, 3][:-1]", "[1, 2]")]
    [InlineData("(1, 2, 3)[::2]", "(1, 3)")]
    [InlineData("[1][::0]", "error")]
    [InlineData("'a😀b'[1]", "😀")]
    [InlineData("'a😀b'[::-1]", "b😀a")]
    [InlineData("'a😀b' | length", "3")]
    [InlineData("[1, 2][-1]", "2")]
    [InlineData("[1, 2][5] is defined", "False")]
    [InlineData("[[1, 2], 3].0.1", "2")]
    [InlineData("{'a': {'b': 5}}.a.b", "5")]
    [InlineData("{'items': 1}['items']", "1")]
    [InlineData("{'items': 1}.items() | list", "[('items', 1)]")]
    [InlineData("{'a': 1}.b is defined", "False")]
    [InlineData("missing.a", "error")]
    [InlineData("none.a is undefined", "True")]
    [InlineData("none['a'] is undefined", "True")]
    public void Items_and_slices_are_Python_s(string expression, string expected) => AssertEvaluates(expected, expression);

    [Theory]
    [InlineData("' a '.strip() ~ '|' ~ 'xxaxx'.strip('x') ~ '|' ~ ' a'.lstrip() ~ '|' ~ 'a\n'.rstrip('\n')", "a|a|a|a")]
    [InlineData("'a,b,c'.split(',')", "['a', 'b', 'c']")]
    [InlineData("'a,b,c'.split(',', 1)", "['a', 'b,c']")]
    [InlineData("'a,b,c'.rsplit(',', 1)", "['a,b', 'c']")]
    [InlineData("' a  b '.split()", "['a', 'b']")]
    [InlineData("' a  b c '.split(none, 1)", "['a', 'b c ']")]
    [InlineData("' a  b c '.rsplit(none, 1)", "[' a  b', 'c']")]
    [InlineData("''.split(',')", "['']")]
    [InlineData("'a'.split('')", "error")]
    [InlineData("'a\nb\r\nc'.splitlines()", "['a', 'b', 'c']")]
    [InlineData("'abc'.startswith('ab') and 'abc'.endswith(('x', 'c'))", "True")]
    [InlineData("'aXbX'.replace('X', '-') ~ 'aXbX'.replace('X', '-', 1)", "a-b-a-bX")]
    [InlineData("'ab'.upper() ~ 'AB'.lower() ~ 'ab cd'.title() ~ 'aB'.capitalize()", "ABabAb CdAb")]
    [InlineData("'a😀b'.find('b') ~ 'ab'.find('z') ~ 'aXbX'.rfind('X')", "2-13")]
    [InlineData("'-'.join(['a', 'b'])", "a-b")]
    [InlineData("'prefix-x'.removeprefix('prefix-') ~ 'x.txt'.removesuffix('.txt')", "xx")]
    [InlineData("'a=b=c'.partition('=') ~ 'a'.rpartition('=')", "('a', '=', 'b=c')('', '', 'a')")]
    [InlineData("'7'.zfill(3) ~ '-7'.zfill(4) ~ 'a'.ljust(3, '.') ~ 'a'.rjust(2)", "007-007a.. a")]
    [InlineData("'12'.isdigit() and 'ab'.isalpha() and not ''.isdigit() and ' '.isspace()", "True")]
    [InlineData("'abab'.count('ab')", "2")]
    [InlineData("{'a': 1}.get('a') ~ {}.get('b') ~ {}.get('b', 2)", "1None2")]
    [InlineData("{'a': 1, 'b': 2}.keys() | list ~ {'a': 1}.values() | list", "['a', 'b'][1]")]
    [InlineData("[1, 2, 1].index(2) ~ [1, 2, 1].count(1)", "12")]
    [InlineData("[1].append(2)", "error")]
    [InlineData("{'a': 1}.update({'b': 2})", "error")]
    [InlineData("'a'.nothing()", "error")]
    public void Methods_are_Python_s_but_change_nothing(string expression, string expected) => AssertEvaluates(expected, expression);

    [Theory]
    [InlineData("none | trim", "None")]
    [InlineData("'xax' | trim('x')", "a")]
    [InlineData("missing | default('d') ~ (none | default('d')) ~ ('' | default('d', true)) ~ ('' | d('e', boolean=true))", "dNonede")]
    [InlineData("[3, 1, 2] | sort | join(',')", "1,2,3")]
    [InlineData("['b', 'A', 'c'] | sort(reverse=true) | join", "cbA")]
    [InlineData("[{'n': 2}, {'n': 1}] | sort(attribute='n') | map(attribute='n') | list", "[1, 2]")]
    [InlineData("[1, 2, 3] | first ~ ([1, 2, 3] | last) ~ ([] | first is defined)", "13False")]
    [InlineData("([1, 2, 3, 4] | select('even') | list) ~ ([1, 2, 3] | reject('equalto', 2) | list)", "[2, 4][1, 3]")]
    [InlineData("[{'a': 1}, {'a': 2}, {}] | selectattr('a', 'defined') | map(attribute='a') | list", "[1, 2]")]
    [InlineData("[{'a': 1}, {'a': 2}] | rejectattr('a', 'eq', 1) | list", "[{'a': 2}]")]
    [InlineData("['a', 'b'] | map('upper') | join", "AB")]
    [InlineData("[{'f': {'n': 'x'}}] | map(attribute='f.n') | join", "x")]
    [InlineData("{'b': 1, 'a': 2} | dictsort", "[('a', 2), ('b', 1)]")]
    [InlineData("{'b': 1, 'a': 2} | items | list", "[('b', 1), ('a', 2)]")]
    [InlineData("missing | items | list", "[]")]
    [InlineData("5 | items | list", "error")]
    [InlineData("([1, 1, 2] | unique | list) ~ ([1, 2] | sum) ~ ([1, 2] | max) ~ ([] | min is defined)", "[1, 2]32False")]
    [InlineData("'a\nb\n\nc' | indent", "a\n    b\n\n    c")]
    [InlineData("'a\nb' | indent(2, true)", "  a\n  b")]
    [InlineData("'it is' | title ~ ('aB' | capitalize)", "It IsAb")]
    [InlineData("'<a>' | escape ~ ('<a>' | safe)", "&lt;a&gt;<a>")]
    [InlineData("'abc' | reverse ~ ([1, 2] | reverse | list)", "cba[2, 1]")]
    [InlineData("'12' | int + 1", "13")]
    [InlineData("('x' | int) ~ ('x' | int(7)) ~ (3.9 | int) ~ ('1.5' | float) ~ (2 | float)", "0731.52.0")]
    [InlineData("2.5 | round ~ (2.567 | round(2)) ~ (2.1 | round(method='ceil'))", "2.02.573.0")]
    [InlineData("[1, 2, 3] | batch(2, 0) | list", "[[1, 2], [3, 0]]")]
    [InlineData("[{'k': 'a', 'v': 1}, {'k': 'b', 'v': 2}, {'k': 'a', 'v': 3}] | groupby('k') | length", "2")]
    [InlineData("'one two three' | truncate(11)", "one two three")]
    [InlineData("'one two three' | truncate(11, leeway=0)", "one two...")]
    [InlineData("'a b c' | wordcount ~ ('abc' | replace('b', 'X'))", "3aXc")]
    [InlineData("1 | nothing", "error")]
    public void Filters_are_Jinja_s(string expression, string expected) => AssertEvaluates(expected, expression);

    [Theory]
    [InlineData("{'a': [1, 2.0, none, true], 'é': '<\"&'} | tojson", """{"a": [1, 2.0, null, true], "é": "<\"&"}""")]
    [InlineData("'é😀' | tojson(ensure_ascii=true)", "\"\\u00e9\\ud83d\\ude00\"")]
    [InlineData("{'a': [1], 'b': {}, 'c': []} | tojson(indent=2)", "{\n  \"a\": [\n    1\n  ],\n  \"b\": {},\n  \"c\": []\n}")]
    [InlineData("{'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':'))", """{"a":2,"b":1}""")]
    [InlineData(@"'\x01\x7f\n\u2028' | tojson", "\"\\u0001\u007f\\n\u2028\"")]
    [InlineData("{[1]: 2} | tojson", "error")]
    [InlineData("{1: 2, true: 3} | tojson", """{"1": 3}""")]
    [InlineData("missing | tojson", "error")]
    public void Json_is_written_as_Python_writes_it(string expression, string expected) => AssertEvaluates(expected, expression);

    [Theory]
    [InlineData("missing is undefined and none is defined and none is none", "True")]
    [InlineData("'a' is string and [] is sequence and {} is mapping and 'a' is iterable and 1 is number", "True")]
    [InlineData("1 is integer and true is not integer and 1.0 is float and true is boolean and false is false", "True")]
    [InlineData("[] is not mapping and 1 is not iterable and range is callable", "True")]
    [InlineData("4 is even and 3 is odd and 9 is divisibleby 3 and 9 is divisibleby(3)", "True")]
    [InlineData("1 is in [1, 2] and 'a' is eq 'a' and 2 is gt 1 and 'x' is not sameas none", "True")]
    [InlineData("'a' is lower and 'A' is upper and 'trim' is filter and 'odd' is test", "True")]
    [InlineData("1 is nothing", "error")]
    public void Tests_are_Jinja_s(string expression, string expected) => AssertEvaluates(expected, expression);

    [Theory]
    [InlineData("{% if 0 %}a{% elif 1 %}b{% else %}c{% endif %}", "b")]
    [InlineData("{% for x in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }} {% endfor %}", "103TrueFalse 212FalseFalse 321FalseTrue ")]
    [InlineData("{% for x in [] %}a{% else %}none{% endfor %}", "none")]
    [InlineData("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "a1b2")]
    [InlineData("{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "123")]
    [InlineData("{% for x in [1, 2, 3, 4] if x is even %}{{ x }}{{ loop.length }}{% endfor %}", "2242")]
    [InlineData("{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "13")]
    [InlineData("{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}", "1")]
    [InlineData("{% for x in [1, 2] %}{{ loop.previtem }}{{ loop.nextitem }},{% endfor %}", "2,1,")]
    [InlineData("{% for x in [1, 2, 3] %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x // 2) }}{% endfor %}", "aTruebTrueaFalse")]
    [InlineData("{% for x in 'añ😀' %}{{ x }}-{% endfor %}", "a-ñ-😀-")]
    [InlineData("{% for x in missing %}a{% endfor %}", "")]
    [InlineData("{% for x in none %}a{% endfor %}", "error")]
    [InlineData("{% for x in range(3) %}{{ x }}{% endfor %}{{ range(5, 0, -2) | list }}", "012[5, 3, 1]")]
    [InlineData("{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}", "1")]
    [InlineData("{% set ns = namespace(x=1) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "4")]
    [InlineData("{% if true %}{% set x = 1 %}{% endif %}{{ x }}", "1")]
    [InlineData("{% set a, b = 1, 2 %}{{ a }}{{ b }}", "12")]
    [InlineData("{% set x %}a{{ 1 }}{% endset %}{{ x | length }}", "2")]
    [InlineData("{% set x | upper | trim %} ab {% endset %}{{ x }}", "AB")]
    [InlineData("{% set x.y = 1 %}", "error")]
    [InlineData("{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "3")]
    [InlineData("{% filter upper %}a{{ 'b' }}{% endfilter %}", "AB")]
    [InlineData("{% generation %}a{% endgeneration %}", "a")]
    [InlineData("{% macro m(a, b='d') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=3, a=4) }}{{ m() }}", "[1d][12][43][d]")]
    [InlineData("{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, x=2) }}", "(1,){'x': 2}")]
    [InlineData("{% macro m(n) %}{{ n }}{% if n %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}", "3210")]
    [InlineData("{% macro m() %}<{{ caller('x') }}>{% endmacro %}{% call(a) m() %}b{{ a }}{% endcall %}", "<bx>")]
    [InlineData("{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}", "1234")]
    [InlineData("{{ dict(a=1, **{'b': 2}) }}", "{'a': 1, 'b': 2}")]
    [InlineData("{% break %}", "error")]
    [InlineData("{% for x in [[1, [2]], 3] recursive %}{% if x is number %}{{ x }}{% else %}{{ loop.depth }}({{ loop(x) }}){% endif %}{% endfor %}", "1(12(2))3")]
    [InlineData("{% for x in [1] %}{{ loop([2]) }}{% endfor %}", "error")]
    [InlineData("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "error")]
    [InlineData("{% include 'x' %}", "error")]
    public void Statements_are_Jinja_s(string template, string expected) => AssertRenders(expected, template);

    [Fact]
    public void The_clock_is_the_one_given()
    {
        var time = new FakeTimeProvider(new DateTimeOffset(2024, 7, 6, 15, 4, 9, TimeSpan.Zero));
        var template = ChatTemplate.Parse("{{ strftime_now('%d %B %Y, %a %b %-d %H:%M:%S %I%p %j %y %F %% %Q') }}", time);
        Assert.Equal("06 July 2024, Sat Jul 6 15:04:09 03PM 188 24 2024-07-06 % %Q", template.Render([]));
    }

    [Fact]
    public void Numbers_of_a_request_keep_their_kind()
    {
        var template = ChatTemplate.Parse("{{ messages | tojson }} {{ messages[0] is integer }} {{ messages[1] is float }}", TimeProvider.System);
        Assert.Equal("[1, 1.0, 123456789012345678901234567890, 1e-07] True True", template.Render(JsonNode.Parse("[1, 1.0, 123456789012345678901234567890, 1e-7]")!.AsArray()));
    }

    private static void AssertEvaluates(string expected, string expression) => AssertRenders(expected, $"{{{{ {expression} }}}}");

    private static void AssertRenders(string expected, string template)
    {
        if (expected == "error")
        {
            Assert.Throws<ChatTemplateException>(() => ChatTemplate.Parse(template, TimeProvider.System).Render([]));
        }
        else
        {
            Assert.Equal(expected, ChatTemplate.Parse(template, TimeProvider.System).Render([]));
        }
    }
}

using System.Text;
using System.Text.Json.Nodes;
using ScriptedServe.Host.Text;
using ScriptedServe.Host.Text.Jinja;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Host.Tests.Text;

public sealed class ChatTemplateTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("scriptedserve-template-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void A_template_comes_from_the_tokenizer_s_config_with_its_special_tokens()
    {
        Write("tokenizer_config.json", """{"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": null, "chat_template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ pad_token }}"}""");
        Assert.Equal("<s>hi</s>", ChatTemplate.Load(folder, TimeProvider.System)!.Render(User("hi")));
    }

    [Fact]
    public void Special_tokens_may_stand_in_their_own_file_and_the_config_goes_first()
    {
        Write("special_tokens_map.json", """{"bos_token": "<x>", "eos_token": {"content": "</x>"}}""");
        Write("tokenizer_config.json", """{"bos_token": "<s>", "chat_template": "{{ bos_token }}{{ eos_token }}"}""");
        Assert.Equal("<s></x>", ChatTemplate.Load(folder, TimeProvider.System)!.Render([]));
    }

    [Fact]
    public void A_file_beside_the_config_goes_before_it()
    {
        Write("tokenizer_config.json", """{"bos_token": "<s>", "chat_template": "config"}""");
        Write("chat_template.jinja", "{{ bos_token }}file");
        Assert.Equal("<s>file", ChatTemplate.Load(folder, TimeProvider.System)!.Render([]));
    }

    [Fact]
    public void Requests_with_tools_use_the_template_named_so()
    {
        Write("tokenizer_config.json", """{"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools | length }} tools"}]}""");
        var template = ChatTemplate.Load(folder, TimeProvider.System)!;
        Assert.Equal("plain", template.Render([]));
        Assert.Equal("1 tools", template.Render([], new JsonArray(new JsonObject())));
    }

    [Fact]
    public void Arguments_of_the_request_reach_the_template()
    {
        var template = ChatTemplate.Parse("{{ add_generation_prompt }}{{ tools is none }}{{ documents is none }}{{ enable_thinking }}", TimeProvider.System);
        Assert.Equal("FalseTrueTrueyes", template.Render([], addGenerationPrompt: false, extra: new JsonObject { ["enable_thinking"] = "yes" }));
    }

    [Fact]
    public void A_model_without_a_template_is_told_what_to_add()
    {
        Assert.Null(ChatTemplate.Load(folder, TimeProvider.System));
        Write("tokenizer_config.json", "{}");
        Assert.Null(ChatTemplate.Load(folder, TimeProvider.System));
        var message = ChatTemplate.Missing(folder).Message;
        Assert.Contains(folder, message, StringComparison.Ordinal);
        Assert.Contains("chat_template.jinja", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{", "not valid JSON")]
    [InlineData("[]", "expected a JSON object")]
    [InlineData("""{"a": 1, "a": 2}""", "not valid JSON")]
    [InlineData("""{"chat_template": 5}""", "must be a string")]
    [InlineData("""{"chat_template": [{"name": "default"}]}""", "must be a string")]
    [InlineData("""{"chat_template": [{"name": "a", "template": ""}, {"name": "b", "template": ""}]}""", "there are: a, b")]
    [InlineData("""{"chat_template": "a\n{% if %}"}""", "line 2: expected an expression, found '%}'")]
    public void A_damaged_config_is_named_with_what_is_wrong(string config, string complaint)
    {
        Write("tokenizer_config.json", config);
        var message = Assert.Throws<ChatTemplateException>(() => ChatTemplate.Load(folder, TimeProvider.System)).Message;
        Assert.StartsWith(Path.Combine(folder, "tokenizer_config.json"), message, StringComparison.Ordinal);
        Assert.Contains(complaint, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("a\n{{ 'x", "line 2: a string is never closed")]
    [InlineData("{# x", "line 1: a comment is never closed")]
    [InlineData("\n{% raw %}", "line 2: a raw block is never closed")]
    [InlineData("{% if x %}\n\n", "expected {% elif %} or {% else %} or {% endif %}, found the end of the template")]
    [InlineData("{% for x in y %}{% endif %}", "supported are for, if")]
    [InlineData("{{ a b }}", "expected '}}', found 'b'")]
    [InlineData("{{ (1] }}", "expected ')', found ']'")]
    [InlineData("{{ ? }}", "unexpected character '?'")]
    [InlineData("{{ x | foo }}", "no filter 'foo'")]
    [InlineData("\n\n{{ x is foo }}", "line 3: there is no test 'foo'")]
    [InlineData("{% extends 'x' %}", "'extends' is not known")]
    [InlineData("{% break %}", "outside of a loop")]
    [InlineData("{{ f(a=1, 2) }}", "expected a named argument")]
    public void A_malformed_template_is_refused_with_line_and_expectation(string template, string complaint) =>
        Assert.Contains(complaint, Assert.Throws<ChatTemplateException>(() => ChatTemplate.Parse(template, TimeProvider.System)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("\n{{ raise_exception('No system role') }}", "line 2: the template refuses: No system role")]
    [InlineData("{% if true %}\n{{ a.b }}{% endif %}", "line 2: 'a' is undefined")]
    [InlineData("{{ messages[0].x.y }}", "'x' of dict is undefined")]
    [InlineData("{{ 'a' + 1 }}", "'+' does not join str and int")]
    [InlineData("{{ 'a'.nothing() }}", "'nothing' of str is undefined")]
    [InlineData("{{ 5() }}", "int cannot be called")]
    public void A_template_that_fails_says_where_and_why(string template, string complaint) =>
        Assert.Contains(complaint, Assert.Throws<ChatTemplateException>(() => ChatTemplate.Parse(template, TimeProvider.System).Render(User("x"))).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps of work")]
    [InlineData("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "too deep")]
    [InlineData("{{ 'x' * 999999999 }}", "characters")]
    [InlineData("{% set ns = namespace(x='0123456789') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", "characters")]
    [InlineData("{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "characters")]
    [InlineData("{% for i in range(99999) %}{{ '0123456789' * 1000 }}{% endfor %}", "characters")]
    [InlineData("{% set ns = namespace(x=1) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}", "too deep")]
    [InlineData("{{ range(999999999) }}", "range of more than")]
    [InlineData("{{ 2 ** 99999999 }}", "4096 bits")]
    [InlineData("{{ 'a'.center(999999999) }}", "characters")]
    [InlineData("{% set s = 'a' * 9000000 %}{% for i in range(99999) %}{% if 'b' in s %}{% endif %}{% endfor %}", "steps of work")]
    [InlineData("{% set s = 'a b ' * 900000 %}{% for i in range(99999) %}{% if s.split() %}{% endif %}{% endfor %}", "steps of work")]
    public void A_runaway_template_is_stopped(string template, string complaint)
    {
        var parsed = ChatTemplate.Parse(template, TimeProvider.System);
        var budget = new RenderBudget(TimeProvider.System, maxWork: complaint == "steps of work" ? 500_000 : 10_000_000);
        Assert.Contains(complaint, Assert.Throws<ChatTemplateException>(() => parsed.Render([], null, true, null, budget)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("(", 100_000)]
    [InlineData("[", 100_000)]
    [InlineData("not ", 100_000)]
    [InlineData("-", 100_000)]
    [InlineData("{1:", 100_000)]
    public void Deep_nesting_is_refused(string opening, int times) =>
        Assert.Throws<ChatTemplateException>(() => ChatTemplate.Parse("{{ " + string.Concat(Enumerable.Repeat(opening, times)), TimeProvider.System));

    [Theory]
    [InlineData("{{ 1", " + 1", " }}")]
    [InlineData("{{ x", " | string", " }}")]
    [InlineData("{{ 'x'", ".strip()", " }}")]
    [InlineData("", "{% if true %}", "")]
    public async Task Long_chains_are_refused_on_a_small_stack_and_never_overflow_it(string start, string link, string end)
    {
        // A thread of the pool has the stack that requests are served on.
        var template = start + string.Concat(Enumerable.Repeat(link, 50_000)) + end;
        var error = await Task.Run(() => Record.Exception(() => ChatTemplate.Parse(template, TimeProvider.System).Render([])));
        Assert.True(error is null or ChatTemplateException, error?.ToString());
    }

    [Fact]
    public void A_conversation_of_ten_megabytes_stays_within_the_limits()
    {
        var template = ChatTemplate.Load(TestPaths.InRepository("engine", "models", "storyteller"), TimeProvider.System)!;
        Assert.True(template.Render(User(new string('x', 10_000_000))).Length > 10_000_000);
    }

    [Fact]
    public void Damaged_templates_are_refused_or_work_but_never_crash()
    {
        const string Original = """
            {%- macro show(item, depth=0) -%}{{ item | tojson(indent=2) }}{%- endmacro -%}
            {% set ns = namespace(found=false, text='') %}
            {% for m in messages if m.role != 'system' %}
              {%- set ns.found = loop.first or ns.found -%}
              {{ '<' ~ m['role'] + '>' }}{{ m.content[::-1].strip() | trim | default("x\n", true) }}
              {% if loop.last and not ns.found is none %}{{ show({'a': [1, 2.5, none]}, depth=1) }}{% elif m is mapping %}{% break %}{% else %}{% continue %}{% endif %}
            {% else %}{{ raise_exception('empty') }}{% endfor %}{# note #}{% raw %}{{ }}{% endraw %}{{ range(3) | map('string') | join(',') }}
            """;
        const string Alphabet = "{}%#'\"|.()[]:-+~,=<>0a \n\\\uD83D";
        var random = new Random(23);
        var (refused, worked) = (0, 0);
        for (var round = 0; round < 3000; round++)
        {
            var text = new StringBuilder(Original);
            for (var edits = random.Next(1, 5); edits > 0; edits--)
            {
                var at = random.Next(text.Length);
                switch (random.Next(3))
                {
                    case 0:
                        text[at] = Alphabet[random.Next(Alphabet.Length)];
                        break;
                    case 1:
                        text.Remove(at, Math.Min(random.Next(6), text.Length - at));
                        break;
                    default:
                        text.Insert(at, Original.AsSpan(random.Next(Original.Length - 12), random.Next(12)));
                        break;
                }
            }

            var template = round % 10 == 0 ? text.ToString()[..random.Next(text.Length)] : text.ToString();
            try
            {
                ChatTemplate.Parse(template, TimeProvider.System).Render(User("hello"), null, true, null, new RenderBudget(TimeProvider.System, maxWork: 100_000));
                worked++;
            }
            catch (ChatTemplateException)
            {
                refused++;
            }
        }

        Assert.True(refused > 500 && worked > 200, $"{refused} refused, {worked} worked");
    }

    [Fact]
    public async Task One_template_serves_many_threads()
    {
        var template = ChatTemplate.Parse("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ m.content }}{% endfor %}{{ ns.n }}", TimeProvider.System);
        await Parallel.ForAsync(0, 500, (i, _) =>
        {
            Assert.Equal($"{i}1", template.Render(User(i.ToString(System.Globalization.CultureInfo.InvariantCulture))));
            return ValueTask.CompletedTask;
        });
    }

    private static JsonArray User(string content) => new(new JsonObject { ["role"] = "user", ["content"] = content });

    private void Write(string name, string content) => File.WriteAllText(Path.Combine(folder, name), content);
}

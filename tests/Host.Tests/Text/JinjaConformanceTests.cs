using System.Text.Json.Nodes;
using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Host.Text;
using ScriptedServe.Tests.Support;

namespace ScriptedServe.Host.Tests.Text;

/// <summary>What Jinja itself, in the environment Hugging Face renders chat templates in, makes of several hundred small templates; tests/data/jinja/make.py made the answers.</summary>
public class JinjaConformanceTests
{
    [Theory]
    [InlineData("expressions", "values", 500)]
    [InlineData("statements", "statement_values", 200)]
    public void A_template_writes_what_Jinja_writes_and_is_refused_where_Jinja_refuses(string kind, string values, int least)
    {
        var file = JsonNode.Parse(File.ReadAllText(TestPaths.InRepository("tests", "data", "jinja", "cases.json")))!;
        var time = new FakeTimeProvider(new DateTimeOffset(2025, 3, 7, 4, 5, 6, TimeSpan.Zero));
        var cases = file[kind]!.AsArray();
        Assert.True(cases.Count >= least, $"{cases.Count} cases");
        var wrong = new List<string>();
        foreach (var item in cases)
        {
            var (template, expected) = (item!["template"]!.GetValue<string>(), item["expected"]?.GetValue<string>());
            string? actual = null;
            var refusal = "";
            try
            {
                actual = ChatTemplate.Parse(template, time, new JsonObject { ["bos_token"] = "<s>" }).Render([], tools: null, addGenerationPrompt: false, file[values]!.AsObject());
            }
            catch (ChatTemplateException error)
            {
                refusal = error.Message;
            }

            if (actual != expected)
            {
                wrong.Add($"{template}: expected {expected ?? "a refusal"}, got {actual ?? refusal}");
            }
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }
}

using System.CommandLine;
using System.CommandLine.Completions;
using System.CommandLine.Help;
using ScriptedServe.Host.Options;

namespace ScriptedServe.Host.Commands;

/// <summary>
/// The command line. Without a command it serves. Exit codes: 0, 1 for what failed, 2 for what was asked wrongly.
/// </summary>
/// <param name="serve">Runs the host until it is stopped; returns the exit code.</param>
internal sealed class CommandLine(
    Func<ServeOptions, CancellationToken, Task<int>> serve,
    Func<string, string?> environment,
    IConfiguration file,
    int cores,
    TextWriter output,
    TextWriter errors,
    TimeProvider time,
    Terminal terminal)
{
    private const int Failed = 1;
    private const int AskedWrongly = 2;

    private static readonly HostSetting Url = new("url", "URL", "The running host. Default: http://127.0.0.1:8000.");

    private readonly Dictionary<HostSetting, Option<string[]>> options = HostSettings.All.Append(Url).ToDictionary(setting => setting, setting => new Option<string[]>(setting.Flag)
    {
        Description = $"{setting.Description} [{setting.Variable}]",
        HelpName = setting.ValueName,
        Arity = ArgumentArity.OneOrMore,
        AllowMultipleArgumentsPerToken = false,
    });

    public async Task<int> RunAsync(string[] args)
    {
        var root = new RootCommand("ScriptedServe: LLM serving whose routing is a script. Options also read the environment (named in brackets) and appsettings.json, section ScriptedServe.");
        var serving = new Command("serve", "Serve an OpenAI-compatible API over local or attached engines. The default command.");
        foreach (var setting in HostSettings.All)
        {
            root.Options.Add(options[setting]);
            serving.Options.Add(options[setting]);
        }

        root.SetAction(ServeAsync);
        serving.SetAction(ServeAsync);
        root.Subcommands.Add(serving);
        AddClientCommands(root);

        var parsed = root.Parse(args);
        var completes = root.Directives.OfType<SuggestDirective>().Any(suggest => parsed.GetResult(suggest) is not null);
        if (parsed.Errors.Count > 0 && !completes && parsed.Action is not HelpAction)
        {
            return Refuse(parsed.Errors.Select(error => error.Message));
        }

        return await parsed.InvokeAsync(new InvocationConfiguration { Output = output, Error = errors, EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
    }

    private Task<int> ServeAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var (checkedOptions, wrong) = ServeOptionsReader.Read(Sources(parsed), cores);
        return checkedOptions is null ? Task.FromResult(Refuse(wrong)) : serve(checkedOptions, cancellationToken);
    }

    private SettingSources Sources(ParseResult parsed) => new(setting => parsed.GetValue(options[setting]) ?? [], environment, file);

    private int Refuse(IEnumerable<string> reasons)
    {
        foreach (var reason in reasons)
        {
            errors.WriteLine($"error: {reason}");
        }

        errors.WriteLine("See --help.");
        return AskedWrongly;
    }

    private void AddClientCommands(RootCommand root)
    {
        var scriptFile = new Argument<string>("FILE") { Description = "A router's script, name.csx." };
        var asName = new Option<string?>("--name") { Description = "The router's name. Default: the file's." };
        var activate = new Option<bool>("--activate") { Description = "Let the new version serve at once." };
        var message = new Option<string?>("--message") { Description = "Why, for the list of versions." };
        var router = new Argument<string>("ROUTER") { Description = "A router's name." };
        var version = new Option<string?>("--version") { Description = "The version's number or label. Default: the newest that is loaded." };
        var share = new Option<double?>("--share") { Description = "Percent of the requests, for a trial beside the active version. Default: all." };
        var header = new Option<string?>("--header") { Description = "With --share: the request header whose value decides who is in the trial. Default: each request by itself." };
        var label = new Argument<string>("LABEL") { Description = "A label, as in stable: then ROUTER@LABEL names the version." };
        var labelled = new Option<string?>("--version") { Description = "The version to label, by number or another label. Default: none; the label is removed." };
        var shadowVersion = new Option<int?>("--version") { Description = "Begin with this version. Without one, show what came of the shadow so far." };
        var sample = new Option<double?>("--sample") { Description = "Percent of the requests. Default: 10." };
        var stop = new Option<bool>("--stop") { Description = "End it." };
        router.CompletionSources.Add(context => ShellCompletion.Names(() => Connect(context.ParseResult), "routers", "name", time));
        var watch = new Option<int>("--watch") { Description = $"With --activate: requests on the new version to wait for and show, {ScriptCommands.WatchLimit.TotalSeconds:0} s at most. Default: 3.", DefaultValueFactory = _ => 3 };
        var request = new Argument<string>("ID") { Description = "A request's id, as in the header X-Request-Id." };
        request.CompletionSources.Add(context => ShellCompletion.Names(() => Connect(context.ParseResult), "requests", "id", time));

        Add("push", "Put a script onto a running host as a new version.", [scriptFile], [asName, activate, message, watch], (client, parsed, token) =>
            Scripts(client).PushAsync(parsed.GetRequiredValue(scriptFile), parsed.GetValue(asName), parsed.GetValue(activate), parsed.GetValue(message), parsed.GetValue(watch), token));
        Add("check", "Have a running host compile a script, and nothing else.", [scriptFile], [asName], (client, parsed, token) =>
            Scripts(client).CheckAsync(parsed.GetRequiredValue(scriptFile), parsed.GetValue(asName), token));
        Add("routers", "List routers and their versions.", [], [], (client, _, token) => Fleet(client).RoutersAsync(token));
        Add("activate", "Let a version serve its name, or with --share a part of its requests.", [router], [version, share, header, message], (client, parsed, token) =>
            Fleet(client).ActivateAsync(parsed.GetRequiredValue(router), parsed.GetValue(version), parsed.GetValue(share), parsed.GetValue(header), parsed.GetValue(message), token));
        Add("rollback", "End a trial, or let the version before serve again.", [router], [message], (client, parsed, token) =>
            Fleet(client).RollbackAsync(parsed.GetRequiredValue(router), parsed.GetValue(message), token));
        Add("label", "Let a label name a version, or remove it.", [router, label], [labelled], (client, parsed, token) =>
            Fleet(client).LabelAsync(parsed.GetRequiredValue(router), parsed.GetRequiredValue(label), parsed.GetValue(labelled), token));
        Add("engines", "List engines and their load.", [], [], (client, _, token) => Fleet(client).EnginesAsync(token));
        Add("shadow", "Let a version replay a sample of a router's requests, and show how its decisions compare.", [router], [shadowVersion, sample, stop], (client, parsed, token) =>
            Fleet(client).ShadowAsync(parsed.GetRequiredValue(router), parsed.GetValue(shadowVersion), parsed.GetValue(sample), parsed.GetValue(stop), token));
        Add("trace", "Show what a request's script saw and decided, and its sub-calls.", [request], [], (client, parsed, token) => Fleet(client).TraceAsync(parsed.GetRequiredValue(request), token));

        var shell = new Argument<string>("SHELL") { Description = $"{string.Join(" or ", ShellCompletion.Shells)}." };
        shell.AcceptOnlyFromAmong([.. ShellCompletion.Shells]);
        var completion = new Command("completion", "Print what makes a shell complete commands, options and the names of routers.") { shell };
        completion.SetAction(parsed => output.Write(ShellCompletion.Script(parsed.GetRequiredValue(shell), ShellCompletion.Program(Environment.ProcessPath, typeof(CommandLine).Assembly.Location))));
        root.Subcommands.Add(completion);

        ScriptCommands Scripts(AdminClient client) => new(client, output, errors, terminal, time);

        ClientCommands Fleet(AdminClient client) => new(client, output);

        void Add(string name, string description, Argument[] arguments, Option[] own, Func<AdminClient, ParseResult, CancellationToken, Task<int>> run)
        {
            var command = new Command(name, description);
            foreach (var argument in arguments)
            {
                command.Arguments.Add(argument);
            }

            foreach (var option in own.Append(options[Url]).Append(options[HostSettings.AdminToken]))
            {
                command.Options.Add(option);
            }

            command.SetAction((parsed, token) => TalkAsync(parsed, client => run(client, parsed, token)));
            root.Subcommands.Add(command);
        }
    }

    private async Task<int> TalkAsync(ParseResult parsed, Func<AdminClient, Task<int>> talk)
    {
        try
        {
            using var client = Connect(parsed);
            return await talk(client);
        }
        catch (CommandException e)
        {
            await errors.WriteLineAsync(e.Message);
            return Failed;
        }
    }

    /// <exception cref="CommandException">The URL is none.</exception>
    private AdminClient Connect(ParseResult parsed)
    {
        var sources = Sources(parsed);
        return new AdminClient(sources.Find(Url)?.Values[^1] ?? "http://127.0.0.1:8000", sources.Find(HostSettings.AdminToken)?.Values[^1]);
    }
}

using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Sampling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Tests.Fakes;

/// <summary>
/// A <see cref="FakeRunner"/> that computes beside its engine: a step that was launched takes place at a moment drawn from a seed, at the latest when it is collected or a page is copied, so that what is written
/// too late, or to pages that belong to somebody else by then, shows. Steps with layers to send take place at once, as the sending would wait for them.
/// </summary>
internal sealed class OverlappingRunner(FakeRunner runner, int seed) : ISamplingRunner
{
    private readonly Random _random = new(seed);
    private readonly Sampler _sampler = new(runner.Model.VocabSize);
    private readonly Queue<Step> _underWay = new();
    private Step? _last;
    private Step? _collected;

    public ModelDescription Model => runner.Model;

    public KvLayout Layout => runner.Layout;

    public FakeRunner Runner => runner;

    /// <summary>Slices launched before their token was known.</summary>
    public int Ahead { get; private set; }

    public void Forward(ReadOnlySpan<StepSlice> slices, KvPool pool, Span<float> logits, ILayerObserver? observer) => throw new NotSupportedException();

    public void Launch(ReadOnlySpan<StepSlice> slices, KvPool pool, ReadOnlySpan<TokenChoice> choices, ILayerObserver? observer)
    {
        Assert.True(_underWay.Count < ISamplingRunner.MostUnderWay);
        var step = new Step(_last, slices, pool, choices);
        Ahead += step.Slices.Count(slice => slice.Choice is not null);
        if (observer is not null)
        {
            Catchup();
            Run(step, observer);
            if (step.Failure is { } failure)
            {
                throw failure;
            }
        }

        _underWay.Enqueue(step);
        _last = step;
        if (_random.Next(4) == 0)
        {
            Catchup();
        }
    }

    /// <summary>Called before each step is collected.</summary>
    public Action? OnCollect { get; set; }

    public void Collect()
    {
        OnCollect?.Invoke();
        _collected = _underWay.Dequeue();
        if (!_collected.IsDone)
        {
            Run(_collected, null);
        }

        if (_collected.Failure is { } failure)
        {
            throw failure;
        }
    }

    public SampledToken Chosen(int choice) => _collected!.Chosen[choice] is { } chosen
        ? new SampledToken(chosen.Token, chosen.Logprob, chosen.TopIds, chosen.TopLogprobs)
        : throw new NonFiniteLogitsException(0);

    /// <summary>Everything that was launched takes place.</summary>
    public void Catchup()
    {
        foreach (var step in _underWay.Where(step => !step.IsDone))
        {
            Run(step, null);
        }
    }

    public void Dispose() => runner.Dispose();

    private void Run(Step step, ILayerObserver? observer)
    {
        step.IsDone = true;
        try
        {
            var logits = new float[step.Chosen.Length * Model.VocabSize];
            runner.Forward([.. step.Slices.Select(step.Known)], step.Pool, logits, observer);
            for (var row = 0; row < step.Chosen.Length; row++)
            {
                step.Chosen[row] = Sample(logits.AsSpan(row * Model.VocabSize, Model.VocabSize), step.Choices[row], step.CountsOf(row));
            }
        }
        catch (Exception e)
        {
            step.Failure = e;
        }
    }

    private ChosenToken? Sample(ReadOnlySpan<float> logits, TokenChoice choice, TokenCounts? counts)
    {
        try
        {
            var chosen = _sampler.Sample(logits, choice.Parameters, counts, choice.Generated, choice.Position);
            return new ChosenToken(chosen.Token, chosen.Logprob, chosen.TopIds.ToArray(), chosen.TopLogprobs.ToArray());
        }
        catch (NonFiniteLogitsException)
        {
            return null;
        }
    }

    private sealed record ChosenToken(int Token, float Logprob, int[] TopIds, float[] TopLogprobs);

    /// <summary>A step as it was launched: nothing of the engine's is looked at later.</summary>
    private sealed class Step
    {
        private readonly ChosenToken?[] _before;
        private readonly TokenCounts?[] _counts;

        public Step(Step? before, ReadOnlySpan<StepSlice> slices, KvPool pool, ReadOnlySpan<TokenChoice> choices)
        {
            (_before, Pool) = (before?.Chosen ?? [], pool);
            Slices = [.. slices.ToArray().Select(slice => slice with { Tokens = slice.Tokens.ToArray(), Pages = slice.Pages.ToArray() })];
            Choices = choices.ToArray();
            Chosen = new ChosenToken?[choices.Length];
            _counts = [.. Choices.Select(choice => Copy(choice.Counts))];
        }

        public StepSlice[] Slices { get; }

        public TokenChoice[] Choices { get; }

        public KvPool Pool { get; }

        /// <summary>Null for a choice from damaged logits.</summary>
        public ChosenToken?[] Chosen { get; }

        public bool IsDone { get; set; }

        public Exception? Failure { get; set; }

        public StepSlice Known(StepSlice slice) => slice.Choice is { } choice ? slice with { Tokens = new[] { _before[choice]?.Token ?? 0 } } : slice;

        /// <summary>The counts of a choice, with the token that was unknown when it was made.</summary>
        public TokenCounts? CountsOf(int row)
        {
            if (_counts[row] is { } counts && Slices.Where(slice => slice.WantsLogits).ElementAt(row).Choice is { } choice)
            {
                counts.AddGenerated(_before[choice]?.Token ?? 0);
            }

            return _counts[row];
        }

        private static TokenCounts? Copy(TokenCounts? counts) => counts is null
            ? null
            : new TokenCounts([.. counts.Generated.Keys], [.. counts.Generated.SelectMany(count => Enumerable.Repeat(count.Key, count.Value))]);
    }
}

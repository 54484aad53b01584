using ScriptedServe.Contracts;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Engine.Compute;
using ScriptedServe.Engine.Sampling;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Scheduling;

/// <summary>Who is told how a step's sequences fared.</summary>
internal interface IStepOutcomes
{
    /// <summary>The sequence is to end with an error; nothing more is computed for it.</summary>
    void Failed(Sequence sequence, RpcException error);

    /// <summary>The sequence has chosen its last token.</summary>
    void Finished(GenerateSequence sequence, GenerateChunk last);
}

/// <summary>
/// Carries plans out: runs the model, sends layers, samples. Owns the logits. A runner that computes beside its caller may be given a plan before the outcome of the last one is known; what a sequence that
/// has ended meanwhile had computed is dropped then. A runner that does not has computed when <see cref="Launch"/> returns.
/// </summary>
internal sealed class StepComputation(IModelRunner runner, KvPool pool, Scheduler scheduler, IStepOutcomes outcomes, TimeProvider time)
{
    private readonly Sampler _sampler = new(runner.Model.VocabSize);
    private readonly LayerSends _sends = new();
    private readonly int _vocab = runner.Model.VocabSize;
    private readonly ISamplingRunner? _chooser = runner as ISamplingRunner;
    private readonly Queue<StepUnderWay> _underWay = new(ISamplingRunner.MostUnderWay);
    private readonly Stack<StepUnderWay> _idle = new();
    private float[] _logits = [];
    private TokenChoice[] _choices = [];
    private long _lastCollected;

    public StepStatistics Statistics { get; } = new();

    /// <summary>Steps launched and not collected.</summary>
    public int UnderWay => _underWay.Count;

    /// <summary>Begins the scheduler's plan. A runner that fails fails the plan's sequences, and no others.</summary>
    public void Launch()
    {
        var slices = scheduler.Slices;
        var rows = 0;
        foreach (ref readonly var slice in slices)
        {
            rows += slice.WantsLogits ? 1 : 0;
        }

        var started = time.GetTimestamp();
        try
        {
            var observer = _sends.Take(scheduler.Planned) ? _sends : null;
            if (_chooser is not null)
            {
                _chooser.Launch(slices, pool, Choices(slices, rows), observer);
            }
            else
            {
                if (_logits.Length < rows * _vocab)
                {
                    _logits = new float[rows * _vocab];
                }

                runner.Forward(slices, pool, _logits.AsSpan(0, rows * _vocab), observer);
            }
        }
        catch (Exception e)
        {
            foreach (var sequence in scheduler.Planned)
            {
                outcomes.Failed(sequence, RunnerFailed(e));
            }

            return;
        }

        var step = _idle.TryPop(out var idle) ? idle : new StepUnderWay();
        step.Begin(scheduler, started);
        _underWay.Enqueue(step);
    }

    /// <summary>Waits for the oldest step under way, and hands its outcome to its sequences, those that have ended since excepted.</summary>
    public void Collect()
    {
        var step = _underWay.Dequeue();
        step.End();
        try
        {
            if (TryCollect(step))
            {
                TakeOver(step);
            }
        }
        finally
        {
            _idle.Push(step);
        }
    }

    private bool TryCollect(StepUnderWay step)
    {
        try
        {
            _chooser?.Collect();
            return true;
        }
        catch (Exception e)
        {
            foreach (ref readonly var part in step.Parts)
            {
                if (IsRunning(part))
                {
                    outcomes.Failed(part.Sequence, RunnerFailed(e));
                }
            }

            return false;
        }
    }

    private void TakeOver(StepUnderWay step)
    {
        var (computed, decoded, generated) = (0, 0, 0);
        foreach (ref readonly var part in step.Parts)
        {
            if (IsRunning(part))
            {
                computed += part.Tokens;
                decoded += part.Sequence is GenerateSequence { HasEmitted: true } && part.Tokens == 1 ? 1 : 0;
                MarkComputed(part);
            }
        }

        var choice = 0;
        foreach (ref readonly var part in step.Parts)
        {
            if (part.Chooses && IsRunning(part))
            {
                generated++;
                Sample((GenerateSequence)part.Sequence, choice);
            }

            choice += part.Chooses ? 1 : 0;
        }

        // Of a step that began while another was under way, the time that it added.
        var took = time.GetElapsedTime(Math.Max(step.Launched, _lastCollected));
        _lastCollected = time.GetTimestamp();
        Statistics.Add(took, computed, decoded, generated);
    }

    // None is preempted while its step is under way, so one that runs is the one that was launched.
    private static bool IsRunning(in StepPart part) => part.Sequence.State == SequenceState.Running;

    private ReadOnlySpan<TokenChoice> Choices(ReadOnlySpan<StepSlice> slices, int rows)
    {
        if (_choices.Length < rows)
        {
            _choices = new TokenChoice[rows];
        }

        var row = 0;
        for (var index = 0; index < slices.Length; index++)
        {
            if (slices[index].WantsLogits)
            {
                _choices[row++] = ((GenerateSequence)scheduler.Planned[index]).NextChoice;
            }
        }

        return _choices.AsSpan(0, rows);
    }

    private static void MarkComputed(in StepPart part)
    {
        var sequence = part.Sequence;
        sequence.Computed += part.Tokens;

        // The pages of a send are being read: they enter the cache when it ends.
        if (sequence is not SendSequence)
        {
            sequence.Blocks.Publish(sequence.Tokens.Span[..sequence.Computed], withTail: false);
        }
    }

    /// <param name="choice">Among those of the step.</param>
    private void Sample(GenerateSequence sequence, int choice)
    {
        try
        {
            if (_chooser is null ? sequence.Append(_logits.AsSpan(choice * _vocab, _vocab), _sampler) : sequence.Append(_chooser.Chosen(choice)))
            {
                outcomes.Finished(sequence, sequence.Last!);
            }
        }
        catch (NonFiniteLogitsException e)
        {
            // KV that gave such logits is not to serve anyone else.
            sequence.Blocks.Discard();
            sequence.Computed = 0;
            Fail(sequence, e.Message, e);
        }
        catch (Exception e)
        {
            Fail(sequence, $"{e.GetType().Name}: {e.Message}", e);
        }
    }

    private static RpcException RunnerFailed(Exception cause) => new(RpcStatus.Internal, $"The model runner failed: {cause.GetType().Name}: {cause.Message}", inner: cause);

    private void Fail(GenerateSequence sequence, string message, Exception cause) => outcomes.Failed(sequence, new RpcException(
        RpcStatus.Internal, $"Request '{sequence.RequestId}', position {sequence.Tokens.Count}: {message}", inner: cause));
}

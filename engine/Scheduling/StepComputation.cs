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

/// <summary>Carries a plan out: runs the model, sends layers, samples. Owns the logits.</summary>
internal sealed class StepComputation(IModelRunner runner, KvPool pool, Scheduler scheduler, IStepOutcomes outcomes, TimeProvider time)
{
    private readonly Sampler _sampler = new(runner.Model.VocabSize);
    private readonly LayerSends _sends = new();
    private readonly int _vocab = runner.Model.VocabSize;
    private readonly ISamplingRunner? _chooser = runner as ISamplingRunner;
    private float[] _logits = [];
    private TokenChoice[] _choices = [];

    public StepStatistics Statistics { get; } = new();

    /// <summary>Computes the scheduler's plan. A runner that fails fails the plan's sequences, and no others.</summary>
    public void Run()
    {
        var slices = scheduler.Slices;
        var rows = 0;
        foreach (ref readonly var slice in slices)
        {
            rows += slice.WantsLogits ? 1 : 0;
        }

        var started = time.GetTimestamp();
        if (!TryForward(slices, rows))
        {
            return;
        }

        var (computed, decoded) = MarkComputed();
        var row = 0;
        for (var index = 0; index < slices.Length; index++)
        {
            if (slices[index].WantsLogits)
            {
                Sample((GenerateSequence)scheduler.Planned[index], row++);
            }
        }

        Statistics.Add(time.GetElapsedTime(started), computed, decoded, rows);
    }

    private bool TryForward(ReadOnlySpan<StepSlice> slices, int rows)
    {
        try
        {
            var observer = _sends.Take(scheduler.Planned) ? _sends : null;
            if (_chooser is not null)
            {
                _chooser.Forward(slices, pool, Choices(slices, rows), observer);
                return true;
            }

            if (_logits.Length < rows * _vocab)
            {
                _logits = new float[rows * _vocab];
            }

            runner.Forward(slices, pool, _logits.AsSpan(0, rows * _vocab), observer);
            return true;
        }
        catch (Exception e)
        {
            var error = new RpcException(RpcStatus.Internal, $"The model runner failed: {e.GetType().Name}: {e.Message}", inner: e);
            foreach (var sequence in scheduler.Planned)
            {
                outcomes.Failed(sequence, error);
            }

            return false;
        }
    }

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

    private (int Computed, int Decoded) MarkComputed()
    {
        var (computed, decoded) = (0, 0);
        foreach (var sequence in scheduler.Planned)
        {
            computed += sequence.Planned;
            decoded += sequence is GenerateSequence { HasEmitted: true } && sequence.Planned == 1 ? 1 : 0;
            sequence.Computed += sequence.Planned;
            if (sequence is SendSequence send)
            {
                // Its pages are being read: they enter the cache when it ends.
                send.MarkSent(send.Computed);
            }
            else
            {
                sequence.Blocks.Publish(sequence.Tokens.Span[..sequence.Computed], withTail: false);
            }
        }

        return (computed, decoded);
    }

    /// <param name="row">Among the slices that want logits.</param>
    private void Sample(GenerateSequence sequence, int row)
    {
        try
        {
            if (_chooser is null ? sequence.Append(_logits.AsSpan(row * _vocab, _vocab), _sampler) : sequence.Append(_chooser.Chosen(row)))
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

    private void Fail(GenerateSequence sequence, string message, Exception cause) => outcomes.Failed(sequence, new RpcException(
        RpcStatus.Internal, $"Request '{sequence.RequestId}', position {sequence.Tokens.Count}: {message}", inner: cause));
}

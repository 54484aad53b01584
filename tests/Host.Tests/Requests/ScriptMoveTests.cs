using System.Threading.Tasks.Sources;
using ScriptedServe.Host.Requests;

namespace ScriptedServe.Host.Tests.Requests;

/// <summary>Waiting for a script and for its request's end at once.</summary>
public sealed class ScriptMoveTests
{
    [Fact]
    public async Task A_cancelled_request_does_not_wait_and_what_it_left_is_known()
    {
        using var cancel = new CancellationTokenSource();
        using var move = new ScriptMove(cancel.Token);
        Assert.True(await move.WaitAsync(new ValueTask<bool>(true)));

        var pending = new TaskCompletionSource<bool>();
        var waiting = move.WaitAsync(new ValueTask<bool>(pending.Task)).AsTask();
        Assert.Null(move.Left);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        var left = move.Left!;
        Assert.False(left.IsCompleted);
        pending.SetException(new InvalidOperationException("of the script, after all was over"));
        await left;
    }

    [Fact]
    public async Task A_request_that_was_cancelled_before_does_not_wait_either()
    {
        using var move = new ScriptMove(new CancellationToken(canceled: true));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => move.WaitAsync(new ValueTask<bool>(new TaskCompletionSource<bool>().Task)).AsTask());
    }

    [Fact]
    public async Task However_the_end_and_the_cancellation_meet_one_of_them_is_told_once()
    {
        for (var round = 0; round < 3000; round++)
        {
            using var cancel = new CancellationTokenSource();
            using var move = new ScriptMove(cancel.Token);
            var source = new Source();
            var waiting = move.WaitAsync(new ValueTask<bool>(source, 0)).AsTask();
            var cancelling = Task.Run(cancel.Cancel);
            source.End();
            await cancelling;
            try
            {
                Assert.True(await waiting);
                Assert.Null(move.Left);
            }
            catch (OperationCanceledException)
            {
                await move.Left!;
            }
        }
    }

    /// <summary>A move as scripts have them: to be taken once.</summary>
    private sealed class Source : IValueTaskSource<bool>
    {
        private ManualResetValueTaskSourceCore<bool> _core;

        public void End() => _core.SetResult(true);

        public bool GetResult(short token) => _core.GetResult(token);

        public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

        public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
            _core.OnCompleted(continuation, state, token, flags);
    }
}

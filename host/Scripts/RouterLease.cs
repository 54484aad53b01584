using System.Runtime.CompilerServices;
using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Scripts;

/// <summary>A pin on a version, and the way into its script.</summary>
internal sealed class RouterLease(RouterVersion version, ScriptBudget budget) : IRouterLease
{
    private RouterVersion? _version = version;

    public string Name { get; } = version.Name;

    public int Version { get; } = version.Number;

    public IAsyncEnumerable<Chunk> HandleRequest(Request request, ScriptRecord? record = null)
    {
        var pinned = _version ?? throw new ObjectDisposedException(nameof(RouterLease));
        return new Stream(pinned, new ScriptScope(budget, pinned.Label, request.Id, request.Cancelled, record), request);
    }

    public void Dispose() => Interlocked.Exchange(ref _version, null)?.Unpin();

    /// <summary>The script's stream, entered through its scope each time; it counts the script's failures and refers to nothing after its end.</summary>
    private sealed class Stream(RouterVersion version, ScriptScope scope, Request request) : IAsyncEnumerable<Chunk>, IAsyncEnumerator<Chunk>
    {
        private static readonly ContextCallback s_move = static stream => ((Stream)stream!).MoveInFlow();

        private IAsyncEnumerator<Chunk>? _inner;
        private CancellationToken _cancellationToken;
        private ExecutionContext? _flow;
        private ValueTask<bool> _move;
        private bool _started;

        public Chunk Current => (_inner ?? throw new InvalidOperationException("The stream is not at a chunk")).Current;

        public IAsyncEnumerator<Chunk> GetAsyncEnumerator(CancellationToken cancellationToken = default)
        {
            if (_started)
            {
                throw new InvalidOperationException("A router's stream is read once");
            }

            _started = true;
            _cancellationToken = cancellationToken;
            return this;
        }

        public ValueTask<bool> MoveNextAsync()
        {
            try
            {
                if (_inner is IHostStream)
                {
                    return Counting(_inner.MoveNextAsync());
                }

                if (_flow is not null)
                {
                    // The flow as it was at first: entering it anew would make a context each time.
                    ExecutionContext.Run(_flow, s_move, this);
                }
                else
                {
                    MoveFirst();
                }

                var move = _move;
                _move = default;
                return Counting(move);
            }
            catch (Exception e) when (Counted(e))
            {
                throw;
            }
        }

        public ValueTask DisposeAsync()
        {
            var inner = _inner;
            _inner = null;
            if (inner is null)
            {
                return ValueTask.CompletedTask;
            }

            scope.Enter();
            try
            {
                return inner.DisposeAsync();
            }
            finally
            {
                scope.Leave();
            }
        }

        private void MoveFirst()
        {
            scope.Enter();
            try
            {
                _flow = ExecutionContext.Capture();
                _inner = (version.Script.HandleRequest(request) ?? throw new InvalidOperationException($"{version.Label}: HandleRequest returned null"))
                    .GetAsyncEnumerator(_cancellationToken);
                Keep(_inner.MoveNextAsync());
            }
            finally
            {
                scope.Leave();
            }
        }

        private void MoveInFlow()
        {
            scope.Enter();
            try
            {
                Keep((_inner ?? throw new ObjectDisposedException(nameof(Stream))).MoveNextAsync());
            }
            finally
            {
                scope.Leave();
            }
        }

        private void Keep(ValueTask<bool> move) => _move = move;

        private ValueTask<bool> Counting(ValueTask<bool> move) => move.IsCompletedSuccessfully ? move : Watch(move);

        [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
        private async ValueTask<bool> Watch(ValueTask<bool> move)
        {
            try
            {
                return await move;
            }
            catch (Exception e) when (Counted(e))
            {
                throw;
            }
            finally
            {
                // The script's yield resumes this on its own thread, and the host's work goes on from here.
                scope.Leave();
            }
        }

        private bool Counted(Exception e)
        {
            if (e is not OperationCanceledException)
            {
                version.Counts.CountError();
            }

            return false;
        }
    }
}

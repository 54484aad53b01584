using System.Runtime.CompilerServices;
using ScriptedServe.Scripting;
using ScriptedServe.Scripting.Runtime;

namespace ScriptedServe.Host.Scripts;

/// <summary>
/// The chunks of one HandleRequest call: the script's, entered through its scope each time, and in between those of the streams that it hands on
/// whole, which are read here without it. Read it once; it refers to nothing of the script after its end.
/// </summary>
/// <param name="failed">Called once a failure of the stream, cancellation left out.</param>
internal sealed class ScriptStream(LoadedScript script, ScriptScope scope, Request request, Action? failed = null) : IAsyncEnumerable<Chunk>, IAsyncEnumerator<Chunk>
{
    private static readonly ContextCallback s_move = static stream => ((ScriptStream)stream!).MoveInFlow();

    private LoadedScript? _script = script;
    private IAsyncEnumerator<Chunk>? _router;
    private IAsyncEnumerable<Chunk>? _toRead;
    private IAsyncEnumerator<Chunk>? _handedOn;
    private CancellationToken _cancellationToken;
    private ExecutionContext? _flow;
    private ValueTask<bool> _move;
    private bool _started;

    public bool HasShortTurns => scope.HasShortTurns;

    public Chunk Current => (_handedOn ?? _router ?? throw new InvalidOperationException("The stream is not at a chunk")).Current;

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
            var move = IsHostsTurn || HasShortTurns || PoolThread.IsTaken ? Move() : MoveOnPoolThreadAsync();
            if (!move.IsCompletedSuccessfully)
            {
                return WatchAsync(move);
            }

            var more = move.Result;
            return IsForTheReader(more) ? new ValueTask<bool>(more) : WatchAsync(ChangeOverAsync());
        }
        catch (Exception e) when (Counted(e))
        {
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        var (handedOn, router) = (_handedOn, _router);
        (_handedOn, _toRead, _router, _script) = (null, null, null, null);
        if (!HasShortTurns && (handedOn is not (null or IHostStream) || router is not (null or IHostStream)))
        {
            await PoolThread.Take();
        }

        // As the loop would have been left: what it read first, then what is around it.
        try
        {
            await CloseAsync(handedOn);
        }
        finally
        {
            await CloseAsync(router);
        }
    }

    /// <summary>No code of the script runs in the next step.</summary>
    private bool IsHostsTurn => _toRead is null && (_handedOn ?? _router) is IHostStream;

    /// <summary>The next step of whoever's turn it is.</summary>
    private ValueTask<bool> Move()
    {
        if (IsHostsTurn)
        {
            return (_handedOn ?? _router)!.MoveNextAsync();
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
        return move;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<bool> MoveOnPoolThreadAsync()
    {
        await PoolThread.Take();
        return await Move();
    }

    private void MoveFirst()
    {
        scope.Enter();
        try
        {
            _flow = ExecutionContext.Capture();
            var handle = (_script ?? throw new ObjectDisposedException(nameof(ScriptStream))).HandleRequest;
            _script = null;
            _router = (handle(request) ?? throw new InvalidOperationException($"{scope.Router}: HandleRequest returned null")).GetAsyncEnumerator(_cancellationToken);
            (_router as IHostStream)?.ReadByHost();
            Keep(_router.MoveNextAsync());
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
            if (_toRead is { } stream)
            {
                _toRead = null;
                _handedOn = stream.GetAsyncEnumerator(CancellationToken.None);
                (_handedOn as IHostStream)?.ReadByHost();
            }

            Keep((_handedOn ?? _router ?? throw new ObjectDisposedException(nameof(ScriptStream))).MoveNextAsync());
        }
        finally
        {
            scope.Leave();
        }
    }

    private void Keep(ValueTask<bool> move) => _move = move;

    /// <summary>False where a stream was handed on, or has been read to its end.</summary>
    private bool IsForTheReader(bool more)
    {
        if (_handedOn is not null)
        {
            return more;
        }

        _toRead = more ? scope.TakeHandedOn(_router!.Current) : null;
        return _toRead is null;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<bool> WatchAsync(ValueTask<bool> move)
    {
        try
        {
            var more = await move;

            // The script's yield resumes this on its own thread, and the host's work goes on from here.
            scope.Leave();
            return IsForTheReader(more) ? more : await ChangeOverAsync();
        }
        catch (Exception e) when (Counted(e))
        {
            throw;
        }
        finally
        {
            scope.Leave();
        }
    }

    /// <summary>To the stream that was handed on, or from its end back to the script.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<bool> ChangeOverAsync()
    {
        while (true)
        {
            if (_handedOn is { } read)
            {
                _handedOn = null;
                await CloseAsync(read);

                // Off the thread that read it: the script goes on from here.
                if (!HasShortTurns)
                {
                    await Task.Yield();
                }
            }

            var more = await Move();
            scope.Leave();
            if (IsForTheReader(more))
            {
                return more;
            }
        }
    }

    private ValueTask CloseAsync(IAsyncEnumerator<Chunk>? stream)
    {
        if (stream is null or IHostStream)
        {
            return stream?.DisposeAsync() ?? ValueTask.CompletedTask;
        }

        scope.Enter();
        try
        {
            return stream.DisposeAsync();
        }
        finally
        {
            scope.Leave();
        }
    }

    private bool Counted(Exception e)
    {
        if (e is not OperationCanceledException)
        {
            failed?.Invoke();
        }

        return false;
    }
}

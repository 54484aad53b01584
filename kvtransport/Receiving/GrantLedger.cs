using ScriptedServe.KvTransport.Address;
using ScriptedServe.KvTransport.Memory;

namespace ScriptedServe.KvTransport.Receiving;

/// <summary>Owns which grant has which slot of the grant table, and which session which cell. No I/O.</summary>
internal sealed class GrantLedger
{
    private readonly Lock _gate = new();
    private readonly GrantTable _table;
    private readonly KvGrant?[] _grants;
    private readonly ulong[] _generations;
    private readonly Stack<int> _freeSlots;
    private readonly Stack<int> _freeCells;

    public GrantLedger(GrantTable table)
    {
        _table = table;
        _grants = new KvGrant?[table.Slots];
        _generations = new ulong[table.Slots];
        _freeSlots = new Stack<int>(Enumerable.Range(0, table.Slots).Reverse());
        _freeCells = new Stack<int>(Enumerable.Range(0, table.Cells).Reverse());
    }

    public IReadOnlyList<KvGrant> All
    {
        get
        {
            lock (_gate)
            {
                return [.. _grants.OfType<KvGrant>()];
            }
        }
    }

    /// <param name="make">Of a slot and its new generation.</param>
    public KvGrant Add(Func<int, ulong, KvGrant> make)
    {
        lock (_gate)
        {
            if (!_freeSlots.TryPop(out var slot))
            {
                throw new KvTransportException(KvFault.Busy, $"All {_table.Slots} grants are in use; the pool's grantSlots sets how many there are.");
            }

            try
            {
                return _grants[slot] = make(slot, ++_generations[slot]);
            }
            catch
            {
                _freeSlots.Push(slot);
                throw;
            }
        }
    }

    public void Remove(KvGrant grant)
    {
        lock (_gate)
        {
            _grants[grant.Slot] = null;
            _freeSlots.Push(grant.Slot);
        }
    }

    /// <summary>The grant that an authentic address of this engine means.</summary>
    /// <exception cref="KvTransportException">Ended.</exception>
    public KvGrant Find(KvAddress address)
    {
        KvGrant? grant;
        lock (_gate)
        {
            grant = address.Slot < _grants.Length ? _grants[address.Slot] : null;
        }

        return grant is not null && grant.Generation == address.Generation && grant.ReservationId == address.ReservationId && !grant.Revoked.IsCancellationRequested
            ? grant
            : throw new KvTransportException(KvFault.Ended, $"Reservation {address.ReservationId} has ended: it was released, aborted, or its lease ran out.");
    }

    /// <summary>
    /// A writer has left this slot. It need not have been one of the slot's present grant: one of an earlier grant that comes too late shows in the slot for a moment.
    /// </summary>
    public void Recheck(int slot)
    {
        KvGrant? grant;
        lock (_gate)
        {
            grant = _grants[slot];
        }

        grant?.Recheck();
    }

    public int TakeCell()
    {
        lock (_gate)
        {
            return _freeCells.TryPop(out var cell)
                ? cell
                : throw new KvTransportException(KvFault.Busy, $"All {_table.Cells} sending sessions are in use; the pool's grantSlots sets how many there are.");
        }
    }

    /// <summary>Only when the session's writer is gone for certain: whatever it held of a grant is dropped.</summary>
    public void ReturnCell(int cell)
    {
        _table.Reclaim(cell);
        lock (_gate)
        {
            _freeCells.Push(cell);
        }
    }

    /// <exception cref="InvalidOperationException">Something is counted twice or lost.</exception>
    public void CheckIntegrity()
    {
        lock (_gate)
        {
            var held = _grants.Count(grant => grant is not null);
            var inside = Enumerable.Range(0, _table.Cells).Count(_table.IsInside);
            if (held + _freeSlots.Count != _table.Slots || inside > _table.Cells - _freeCells.Count || _freeSlots.Any(slot => _grants[slot] is not null))
            {
                throw new InvalidOperationException($"{held} grants held and {_freeSlots.Count} slots free of {_table.Slots}; {inside} writers inside and {_freeCells.Count} cells free of {_table.Cells}.");
            }
        }
    }

    /// <summary>Sessions that hold a cell.</summary>
    public int CellsInUse
    {
        get
        {
            lock (_gate)
            {
                return _table.Cells - _freeCells.Count;
            }
        }
    }
}

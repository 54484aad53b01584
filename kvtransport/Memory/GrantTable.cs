using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace ScriptedServe.KvTransport.Memory;

/// <summary>Where a grant stands, as its slot tells every process that maps the table.</summary>
internal enum GrantState
{
    /// <summary>Ended, or never granted: nobody may write.</summary>
    Closed = 0,

    /// <summary>Senders may write.</summary>
    Open = 1,

    /// <summary>All of it has arrived: nobody may write, and nobody needs to.</summary>
    Complete = 2,
}

/// <summary>
/// The fence between a receiver that takes pages back and senders that write them, in memory that both map. No locks: a sender may be
/// killed at any instruction.
/// <para>A <b>slot</b> belongs to a grant and holds <c>generation &lt;&lt; 2 | state</c>; only the receiver writes it. A <b>cell</b> belongs to
/// one sending session and holds the slot it writes under now plus one, or 0, and beside it a count of its writes; only that session writes it, until the receiver
/// takes it back.
/// To write, a sender (1) stores the slot in its cell, (2) then reads the slot's word, and (3) writes pages only if the word is its generation, open;
/// (4) it clears the cell, and (5) reads the word again, to tell the receiver if it is no longer open. To close, the receiver (1) stores the word, (2) then reads all cells.
/// Each of these pairs is a store before a load with a full fence between, so at least one side sees the other: no writer is missed, and none that the
/// receiver waits for leaves without either being seen gone or telling.</para>
/// </summary>
/// <param name="memory">64-byte aligned, <see cref="BytesFor"/> long, zeros at first. Not owned.</param>
/// <param name="slots">Grants at a time.</param>
/// <param name="cells">Sending sessions at a time.</param>
internal sealed unsafe class GrantTable(byte* memory, int slots, int cells)
{
    /// <summary>A cache line each, so that sessions do not slow one another.</summary>
    private const int Stride = 64;

    /// <summary>Keeps private memory alive.</summary>
    private object? Owned { get; init; }

    public int Slots { get; } = slots;

    public int Cells { get; } = cells;

    /// <summary>The same fence for a pool that no other process maps: all writers are tasks of this one.</summary>
    public static GrantTable InPrivateMemory(int slots, int cells)
    {
        // Pinned for its life and never handed out, so the pointer stays good as long as the table holds the array.
        var memory = GC.AllocateArray<byte>((int)BytesFor(slots, cells) + Stride, pinned: true);
        var start = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(memory));
        return new GrantTable(start + (Stride - ((nuint)start % Stride)), slots, cells) { Owned = memory };
    }

    public static long BytesFor(int slots, int cells) => (long)(slots + cells) * Stride;

    public static ulong Word(ulong generation, GrantState state) => (generation << 2) | (ulong)state;

    /// <summary>The receiver's side: sets a slot, with a full fence after it.</summary>
    public void Set(int slot, ulong generation, GrantState state) => Interlocked.Exchange(ref Slot(slot), Word(generation, state));

    /// <summary>A grant of this generation in this slot; <see cref="GrantState.Closed"/> too if the slot has passed to another.</summary>
    public GrantState State(int slot, ulong generation)
    {
        var word = Volatile.Read(ref Slot(slot));
        return word >> 2 == generation ? (GrantState)(word & 3) : GrantState.Closed;
    }

    /// <summary>Steps 1 and 2 of a write. <see cref="Leave"/> must follow, whatever the answer; only on Open may pages be written before it.</summary>
    public GrantState Enter(int cell, int slot, ulong generation)
    {
        Interlocked.Exchange(ref Cell(cell), (ulong)slot + 1);
        return State(slot, generation);
    }

    /// <summary>Steps 4 and 5.</summary>
    /// <returns>True if the grant is still open; if not, the receiver must be told, since it may be waiting for this.</returns>
    public bool Leave(int cell, int slot, ulong generation)
    {
        Interlocked.Exchange(ref Cell(cell), 0);
        if (State(slot, generation) != GrantState.Open)
        {
            return false;
        }

        Volatile.Write(ref Count(cell), Writes(cell) + 1);
        return true;
    }

    /// <summary>Writes to open grants that sessions have made with this cell since the table was made; never set back.</summary>
    public long Writes(int cell) => Volatile.Read(ref Count(cell));

    /// <summary>The receiver's side: takes back the cell of a session that can no longer write, because its process or its task is gone.</summary>
    public void Reclaim(int cell) => Interlocked.Exchange(ref Cell(cell), 0);

    public bool IsInside(int cell) => Volatile.Read(ref Cell(cell)) != 0;

    /// <summary>Sessions inside the slot now. One that enters after the slot was closed may be counted for the moment it takes to find that out; it tells of leaving all the same.</summary>
    public int Writers(int slot)
    {
        var inside = 0;
        for (var cell = 0; cell < Cells; cell++)
        {
            inside += Volatile.Read(ref Cell(cell)) == (ulong)slot + 1 ? 1 : 0;
        }

        return inside;
    }

    private ref ulong Slot(int slot) => ref *(ulong*)(memory + ((long)slot * Stride));

    private ref long Count(int cell) => ref *(long*)(memory + ((long)(Slots + cell) * Stride) + sizeof(ulong));

    private ref ulong Cell(int cell) => ref *(ulong*)(memory + ((long)(Slots + cell) * Stride));
}

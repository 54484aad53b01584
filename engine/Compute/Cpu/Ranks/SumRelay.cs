using ScriptedServe.Engine.Compute.Kernels;

namespace ScriptedServe.Engine.Compute.Cpu.Ranks;

/// <summary>
/// The all-reduce of ranks that share memory, run as a relay within the product itself. Of a product whose inputs are divided among the ranks,
/// (1) the first rank computes a block over its inputs, beginning with the bias, and passes it on; (2) every other rank goes on with the sums of a block where the
/// rank before it stopped; (3) when the last rank has all blocks, they are read by all. While a rank is at one block the others are at others, so that all compute
/// all the time but for a block at the beginning and the end. Every sum is thereby the same chain of multiply-adds in the same order as without ranks: the same bits.
/// <para>A relay may only write memory that no rank still reads from an earlier one. When a relay begins, all ranks have ended the one before: so two that
/// follow each other need different memory, and no more than that.</para>
/// </summary>
internal sealed unsafe class SumRelay : IDisposable
{
    private const int LineBytes = 128;

    /// <summary>[1 + blocks] cache lines with a number each: blocks that the last rank is done with; then for each block how far it has come.</summary>
    private readonly NativeBuffer _lines;
    private readonly int _maxBlocks;

    /// <summary>Where the next rank waits for a block, and where all wait for the end.</summary>
    private readonly WaitPoint _blocks = new();
    private readonly WaitPoint _ends = new();
    private long _relays;

    /// <param name="maxBlocks">Most blocks of a product.</param>
    public SumRelay(RankThreads ranks, int maxBlocks)
    {
        Ranks = ranks;
        ranks.OnFailure = () =>
        {
            _blocks.Raised();
            _ends.Raised();
        };
        _maxBlocks = maxBlocks;
        _lines = new NativeBuffer((1L + maxBlocks) * LineBytes);
    }

    public RankThreads Ranks { get; }

    /// <summary>Forgets what a step left, which may have failed midway. While no rank runs.</summary>
    /// <param name="relays">Most relays of the step.</param>
    public void BeginStep(int relays)
    {
        // Numbers only grow, so nothing that an earlier step has written is taken for this one's.
        FirstRelay = _relays;
        _relays += relays;
        Done = 0;
    }

    public void Dispose() => _lines.Dispose();

    private long FirstRelay { get; set; }

    private ref long Done => ref *(long*)_lines.Pointer;

    private ref long Block(int block) => ref *(long*)(_lines.Pointer + (1L + block) * LineBytes);

    /// <summary>A rank's place in the relays.</summary>
    public sealed class Place(SumRelay relay, int rank)
    {
        private long _relay;
        private long _doneAfter;

        /// <summary>The rank goes on with others' sums.</summary>
        public bool Continues => rank > 0;

        private int Ranks => relay.Ranks.Ranks;

        public void BeginStep() => (_relay, _doneAfter) = (relay.FirstRelay, 0);

        /// <summary>Before the rank's first block of a product.</summary>
        public void Begin(int blocks)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan(blocks, relay._maxBlocks);
            _relay++;
            _doneAfter += blocks;
        }

        /// <summary>Waits for the rank before to pass the block on.</summary>
        public void Take(int block)
        {
            if (rank > 0)
            {
                relay.Ranks.Await(relay._blocks, ref relay.Block(block), _relay * Ranks + rank);
            }
        }

        /// <summary>The rank is done with the block.</summary>
        public void Pass(int block)
        {
            if (rank < Ranks - 1)
            {
                Volatile.Write(ref relay.Block(block), _relay * Ranks + rank + 1);
                relay._blocks.Raised();
            }
            else if (Interlocked.Increment(ref relay.Done) == _doneAfter)
            {
                relay._ends.Raised();
            }
        }

        /// <summary>Waits for the last rank to be done with all blocks.</summary>
        public void End() => relay.Ranks.Await(relay._ends, ref relay.Done, _doneAfter);
    }
}

using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute.Cuda.Device;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>A run of rows of one sequence; PrefillAttention.cu: PrefillSlice.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct PrefillSlice(int FirstRow, int Count, int Position, int PageBegin);

/// <summary>One block's part of a slice; PrefillAttention.cu: PrefillTile.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct PrefillTile(int Slice, int Begin);

/// <summary>
/// What the kernels of a step read of its slices. Rows of slices of one token come first, then those of the others, so that attention finds each kind together. It is laid out in
/// pinned memory and goes to the device in one copy; places do not change from step to step, so that recorded launches find it.
/// </summary>
internal sealed unsafe class StepInputs : IDisposable
{
    /// <summary>Seven arrays of ints, and one of slices, of four ints.</summary>
    private const int IntArrays = 7 + 4;

    private readonly IGpu _gpu;
    private readonly int _maxRows;
    private readonly int _maxTiles;
    private readonly int _pageTokens;
    private readonly int _group;
    private IGpuMemory _host;
    private IGpuMemory _device;
    private int _maxPages;

    /// <param name="group">Query heads that share a key/value head.</param>
    public StepInputs(IGpu gpu, int maxRows, int pageTokens, int group)
    {
        (_gpu, _maxRows, _pageTokens, _group) = (gpu, maxRows, pageTokens, group);
        _maxTiles = MaxTiles(maxRows, group);
        _maxPages = PagesAtFirst(maxRows);
        (_host, _device) = Allocate(_maxPages);
    }

    /// <summary>Bytes on the device, until contexts are longer than <see cref="PagesAtFirst"/> have room for.</summary>
    public static long BytesFor(int maxRows, int group) =>
        IntArrays * (long)maxRows * sizeof(int) + (long)MaxTiles(maxRows, group) * sizeof(PrefillTile) + (long)PagesAtFirst(maxRows) * sizeof(int);

    /// <summary>Rows of all slices, of those of one token, and of those whose logits are wanted.</summary>
    public int Rows { get; private set; }

    public int DecodeRows { get; private set; }

    public int LogitRows { get; private set; }

    public int Tiles { get; private set; }

    /// <summary>Most positions that a slice of one token attends to.</summary>
    public int LongestDecode { get; private set; }

    /// <summary>Changes when the arrays have moved.</summary>
    public int Generation { get; private set; }

    // [rows] each; pages are of all slices, one after the other.
    public nint Tokens => Device(0);

    public nint Positions => Device(1);

    public nint LongContexts => Device(2);

    /// <summary>Where the row's KV goes: page * pageTokens + place in it.</summary>
    public nint Slots => Device(3);

    /// <summary>[decodeRows]: positions that the row attends to.</summary>
    public nint Lengths => Device(4);

    /// <summary>[decodeRows]: where its sequence's pages begin in <see cref="Pages"/>.</summary>
    public nint PageBegins => Device(5);

    /// <summary>[logitRows], in the slices' order.</summary>
    public nint LogitRowMap => Device(6);

    /// <summary>[slices of several tokens].</summary>
    public nint Slices => Device(7);

    public nint TileList => _device.Value + (nint)TilesOffset;

    public nint Pages => _device.Value + (nint)PagesOffset;

    private long TilesOffset => IntArrays * (long)_maxRows * sizeof(int);

    private long PagesOffset => TilesOffset + (long)_maxTiles * sizeof(PrefillTile);

    /// <summary>Lays out a step that was checked, and sends it to the device.</summary>
    /// <param name="paddedRows">With slices of one token alone: rows up to this number become padding.</param>
    public void Place(ReadOnlySpan<StepSlice> slices, int paddedRows = 0)
    {
        int pages = 0;
        foreach (ref readonly var slice in slices)
        {
            pages += PagesOf(slice);
        }

        Reserve(pages);
        (Rows, DecodeRows, LogitRows, Tiles, LongestDecode) = (0, 0, 0, 0, 0);
        foreach (ref readonly var slice in slices)
        {
            DecodeRows += slice.Count == 1 ? 1 : 0;
            Rows += slice.Count;
        }

        int decodeRow = 0, row = DecodeRows, page = 0, prefillSlice = 0;
        foreach (ref readonly var slice in slices)
        {
            bool decodes = slice.Count == 1;
            int first = decodes ? decodeRow++ : row;
            row += decodes ? 0 : slice.Count;
            PlaceRows(slice, first);
            slice.Pages.Span[..PagesOf(slice)].CopyTo(new Span<int>((int*)(_host.Value + PagesOffset) + page, _maxPages - page));
            if (decodes)
            {
                Host(4)[first] = slice.Position + 1;
                Host(5)[first] = page;
                LongestDecode = Math.Max(LongestDecode, slice.Position + 1);
            }
            else
            {
                ((PrefillSlice*)Host(7))[prefillSlice] = new PrefillSlice(first, slice.Count, slice.Position, page);
                for (int begin = 0; begin < slice.Count * _group; begin += StepKernels.PrefillRows)
                {
                    ((PrefillTile*)(_host.Value + TilesOffset))[Tiles++] = new PrefillTile(prefillSlice, begin);
                }

                prefillSlice++;
            }

            if (slice.WantsLogits)
            {
                Host(6)[LogitRows++] = first + slice.Count - 1;
            }

            page += PagesOf(slice);
        }

        Pad(paddedRows);
        _gpu.Upload((void*)_host.Value, _device, 0, PagesOffset + (long)page * sizeof(int));
    }

    public void Dispose()
    {
        _host.Dispose();
        _device.Dispose();
    }

    // Each slice ends with a tile that is not full.
    private static int MaxTiles(int maxRows, int group) => maxRows + (maxRows * group + StepKernels.PrefillRows - 1) / StepKernels.PrefillRows;

    private static int PagesAtFirst(int maxRows) => 4 * maxRows;

    private int PagesOf(in StepSlice slice) => (slice.Position + slice.Count + _pageTokens - 1) / _pageTokens;

    private void PlaceRows(in StepSlice slice, int first)
    {
        var tokens = slice.Tokens.Span;
        var pages = slice.Pages.Span;
        for (int i = 0; i < slice.Count; i++)
        {
            int position = slice.Position + i;
            Host(0)[first + i] = tokens[i];
            Host(1)[first + i] = position;
            Host(2)[first + i] = slice.LongContext ? 1 : 0;
            Host(3)[first + i] = pages[position / _pageTokens] * _pageTokens + position % _pageTokens;
        }
    }

    /// <summary>Padding computes token 0 of nothing: its KV goes nowhere, it attends to nothing, and nobody reads its logits.</summary>
    private void Pad(int rows)
    {
        for (int row = Rows; row < rows; row++)
        {
            (Host(0)[row], Host(1)[row], Host(2)[row], Host(3)[row], Host(4)[row], Host(5)[row], Host(6)[row]) = (0, 0, 0, -1, 0, 0, row);
        }
    }

    private int* Host(int array) => (int*)_host.Value + (long)array * _maxRows;

    private nint Device(int array) => _device.Value + (nint)array * _maxRows * sizeof(int);

    private void Reserve(int pages)
    {
        if (pages <= _maxPages)
        {
            return;
        }

        int more = _maxPages;
        while (more < pages)
        {
            more *= 2;
        }

        var (host, device) = Allocate(more);
        Dispose();
        (_host, _device, _maxPages) = (host, device, more);
        Generation++;
    }

    private (IGpuMemory Host, IGpuMemory Device) Allocate(int pages)
    {
        long bytes = PagesOffset + (long)pages * sizeof(int);
        var host = _gpu.AllocatePinned(bytes);
        try
        {
            new Span<byte>((void*)host.Value, checked((int)bytes)).Clear();
            return (host, _gpu.Allocate(bytes));
        }
        catch
        {
            host.Dispose();
            throw;
        }
    }
}

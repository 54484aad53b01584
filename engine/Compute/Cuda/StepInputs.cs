using System.Numerics;
using System.Runtime.InteropServices;
using ScriptedServe.Engine.Compute.Cuda.Device;
using ScriptedServe.KvTransport;

namespace ScriptedServe.Engine.Compute.Cuda;

/// <summary>A run of rows of one sequence; PrefillAttention.cu: PrefillSlice.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct PrefillSlice(int FirstRow, int Count, int Position, int PageBegin);

/// <summary>One block's part of a slice; PrefillAttention.cu: PrefillTile.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct PrefillTile(int Slice, int Begin);

/// <summary>One unit of positions of a row that decodes; PagedDecode.cu: DecodeUnit.</summary>
[StructLayout(LayoutKind.Sequential)]
internal record struct DecodeUnit(int Row, int Unit);

/// <summary>
/// What the kernels of a step read of its slices. Rows of slices of one token come first, then those of the others, so that attention finds each kind together. It is laid out in
/// pinned memory and goes to the device in one copy, or in two where there is room for many more units than a step has; places do not change from step to step, so that recorded launches find it. There are two areas of pinned memory, since a step is laid out while the one
/// before may still be on its way.
/// </summary>
internal sealed unsafe class StepInputs : IDisposable
{
    /// <summary>Eight arrays of ints, and one of slices, of four ints.</summary>
    private const int IntArrays = 8 + 4;

    /// <summary>Bytes that nobody reads, between the units of a step and its pages, which are sent all the same: more of them take longer than a second copy.</summary>
    private const long MostGap = 32 << 10;

    private readonly IGpu _gpu;
    private readonly int _maxRows;
    private readonly int _maxTiles;
    private readonly int _pageTokens;
    private readonly int _group;
    private readonly int _unitTokens;
    private readonly IGpuMemory[] _hosts;
    private readonly IGpuMemory _device;
    private IGpuMemory _host;
    private readonly int _maxPages;
    private readonly int _maxUnits;

    /// <param name="group">Query heads that share a key/value head.</param>
    /// <param name="unitTokens">Positions of a unit of attention.</param>
    public StepInputs(IGpu gpu, StepLimits limits, KvLayout layout, int group, int unitTokens)
    {
        (_gpu, _maxRows, _pageTokens, _group, _unitTokens) = (gpu, limits.Rows, layout.PageTokens, group, unitTokens);
        _maxTiles = MaxTiles(_maxRows, group);
        (_maxPages, _maxUnits) = Most(limits, layout, unitTokens);
        (_hosts, _device) = Allocate();
        _host = _hosts[0];
    }

    /// <summary>Bytes on the device.</summary>
    public static long BytesFor(StepLimits limits, KvLayout layout, int group, int unitTokens)
    {
        var (pages, units) = Most(limits, layout, unitTokens);
        return IntArrays * (long)limits.Rows * sizeof(int) + (long)MaxTiles(limits.Rows, group) * sizeof(PrefillTile) + (long)units * sizeof(DecodeUnit) + (long)pages * sizeof(int);
    }

    /// <summary>Rows of all slices, of those of one token, and of those whose logits are wanted.</summary>
    public int Rows { get; private set; }

    public int DecodeRows { get; private set; }

    public int LogitRows { get; private set; }

    public int Tiles { get; private set; }

    /// <summary>Units of all slices of one token.</summary>
    public int Units { get; private set; }

    /// <summary>Most pages of all slices, and units.</summary>
    public (int Pages, int Units) Limits => (_maxPages, _maxUnits);

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

    /// <summary>[decodeRows]: where its units begin in <see cref="UnitList"/>.</summary>
    public nint UnitBegins => Device(7);

    /// <summary>[logitRows], in the slices' order.</summary>
    public nint LogitRowMap => Device(6);

    /// <summary>[slices of several tokens].</summary>
    public nint Slices => Device(8);

    public nint TileList => _device.Value + (nint)TilesOffset;

    /// <summary>[units].</summary>
    public nint UnitList => _device.Value + (nint)UnitsOffset;

    public nint Pages => _device.Value + (nint)PagesOffset;

    private long TilesOffset => IntArrays * (long)_maxRows * sizeof(int);

    private long UnitsOffset => TilesOffset + (long)_maxTiles * sizeof(PrefillTile);

    private long PagesOffset => UnitsOffset + (long)_maxUnits * sizeof(DecodeUnit);

    /// <summary>The runs of rows that decode whose units fit a working area of so many, in order: [first row, rows, first unit, units].</summary>
    public IEnumerable<(int Row, int Rows, int Unit, int Units)> Runs(int most)
    {
        for (int row = 0, end; row < DecodeRows; row = end)
        {
            int unit = UnitBegin(row);
            for (end = row + 1; end < DecodeRows && UnitBegin(end + 1) - unit <= most; end++)
            {
            }

            yield return (row, end - row, unit, UnitBegin(end) - unit);
        }
    }

    /// <summary>Units of the slices of one token.</summary>
    public int UnitsOf(ReadOnlySpan<StepSlice> slices)
    {
        int units = 0;
        foreach (ref readonly var slice in slices)
        {
            units += slice.Count == 1 ? UnitsOf(slice) : 0;
        }

        return units;
    }

    /// <summary>Lays out a step that was checked, and sends it to the device.</summary>
    /// <param name="area">Of pinned memory, 0 or 1: one that no step under way was laid out in.</param>
    /// <param name="paddedRows">With slices of one token alone: rows up to this number become padding.</param>
    /// <param name="paddedUnits">The same of units.</param>
    public void Place(ReadOnlySpan<StepSlice> slices, int area, int paddedRows = 0, int paddedUnits = 0)
    {
        int pages = 0;
        foreach (ref readonly var slice in slices)
        {
            pages += PagesOf(slice);
        }

        if (pages > _maxPages || Math.Max(UnitsOf(slices), paddedUnits) > _maxUnits)
        {
            throw new ArgumentException($"the step has {slices.Length} slices of {pages} pages in all; MaxSequences and the longest context allow {_maxPages}", nameof(slices));
        }

        _host = _hosts[area];
        (Rows, DecodeRows, LogitRows, Tiles, Units) = (0, 0, 0, 0, 0);
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
                PlaceUnits(slice, first);
            }
            else
            {
                ((PrefillSlice*)Host(8))[prefillSlice] = new PrefillSlice(first, slice.Count, slice.Position, page);
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
        new Span<DecodeUnit>((DecodeUnit*)(_host.Value + UnitsOffset), _maxUnits)[Units..Math.Max(Units, paddedUnits)].Fill(new DecodeUnit(-1, 0));
        long unitsEnd = UnitsOffset + (long)Math.Max(Units, paddedUnits) * sizeof(DecodeUnit), pagesEnd = PagesOffset + (long)page * sizeof(int);
        if (PagesOffset - unitsEnd <= MostGap)
        {
            Upload(0, pagesEnd);
        }
        else
        {
            Upload(0, unitsEnd);
            Upload(PagesOffset, pagesEnd);
        }
    }

    public void Dispose()
    {
        foreach (var host in _hosts)
        {
            host.Dispose();
        }

        _device.Dispose();
    }

    private void Upload(long begin, long end) => _gpu.Upload((void*)(_host.Value + (nint)begin), _device, begin, end - begin);

    // Each slice ends with a tile that is not full.
    private static int MaxTiles(int maxRows, int group) => maxRows + (maxRows * group + StepKernels.PrefillRows - 1) / StepKernels.PrefillRows;

    private static (int Pages, int Units) Most(StepLimits limits, KvLayout layout, int unitTokens) =>
        (checked((int)limits.MostPages(layout)), checked((int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(limits.Units, limits.MostUnits(unitTokens)))));

    private int PagesOf(in StepSlice slice) => (slice.Position + slice.Count + _pageTokens - 1) / _pageTokens;

    private int UnitsOf(in StepSlice slice) => (slice.Position + _unitTokens) / _unitTokens;

    private int UnitBegin(int row) => row < DecodeRows ? Host(7)[row] : Units;

    private void PlaceUnits(in StepSlice slice, int row)
    {
        Host(7)[row] = Units;
        for (int unit = 0; unit < UnitsOf(slice); unit++)
        {
            ((DecodeUnit*)(_host.Value + UnitsOffset))[Units++] = new DecodeUnit(row, unit);
        }
    }

    private void PlaceRows(in StepSlice slice, int first)
    {
        var tokens = slice.Tokens.Span;
        var pages = slice.Pages.Span;
        for (int i = 0; i < slice.Count; i++)
        {
            int position = slice.Position + i;
            // Embed.cu: chosen[-1 - token].
            Host(0)[first + i] = slice.Choice is { } choice ? -1 - choice : tokens[i];
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
            (Host(0)[row], Host(1)[row], Host(2)[row], Host(3)[row], Host(4)[row], Host(5)[row], Host(6)[row], Host(7)[row]) = (0, 0, 0, -1, 0, 0, row, 0);
        }
    }

    private int* Host(int array) => (int*)_host.Value + (long)array * _maxRows;

    private nint Device(int array) => _device.Value + (nint)array * _maxRows * sizeof(int);

    private (IGpuMemory[] Hosts, IGpuMemory Device) Allocate()
    {
        long bytes = PagesOffset + (long)_maxPages * sizeof(int);
        var hosts = new List<IGpuMemory>();
        try
        {
            for (int area = 0; area < ISamplingRunner.MostUnderWay; area++)
            {
                hosts.Add(_gpu.AllocatePinned(bytes));
                new Span<byte>((void*)hosts[area].Value, checked((int)bytes)).Clear();
            }

            return ([.. hosts], _gpu.Allocate(bytes));
        }
        catch
        {
            hosts.ForEach(host => host.Dispose());
            throw;
        }
    }
}

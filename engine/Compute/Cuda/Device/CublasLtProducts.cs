using ScriptedServe.Engine.Compute.Cuda.Compilation;
using ScriptedServe.Engine.Compute.Cuda.Native;

namespace ScriptedServe.Engine.Compute.Cuda.Device;

/// <summary>
/// Products by cuBLASLt, whose library is loaded. Numbers of rows that were tuned use the algorithm that was fastest then; others that of the next larger tuned one, where it can, and else the
/// first that cuBLASLt itself proposes. Owns its workspace.
/// </summary>
internal sealed unsafe class CublasLtProducts : ILibraryProducts
{
    /// <summary>On the device: what NVIDIA names for Hopper.</summary>
    public const long WorkspaceBytes = 32 << 20;

    /// <summary>Proposals that are timed, and how often: the first run of each is not counted.</summary>
    private const int Candidates = 8, Runs = 4;

    private readonly GpuDevice _device;
    private readonly GpuStream _stream;
    private readonly AlgorithmCache _cache;
    private readonly GpuMemory _workspace;
    private readonly nint _library;
    private readonly Dictionary<(ProductShape Shape, int Rows), Plan> _plans = [];

    public CublasLtProducts(GpuDevice device, GpuStream stream, AlgorithmCache cache)
    {
        (_device, _stream, _cache) = (device, stream, cache);
        device.MakeCurrent();
        CublasLt.Check(CublasLt.cublasLtCreate(out _library), nameof(CublasLt.cublasLtCreate));
        try
        {
            _workspace = device.Allocate(WorkspaceBytes);
        }
        catch
        {
            _ = CublasLt.cublasLtDestroy(_library);
            throw;
        }
    }

    public void Tune(ProductShape shape, ProductOperands operands, IReadOnlyList<int> rows)
    {
        foreach (int count in rows)
        {
            using var plan = new Plan(shape, count);
            plan.SetBias(operands.Bias);
            if (_cache.Find(shape, count) is { } known && plan.Accepts(_library, known, WorkspaceBytes))
            {
                continue;
            }

            MatmulAlgorithm? fastest = null;
            var shortest = TimeSpan.MaxValue;
            foreach (var candidate in plan.Propose(_library, Candidates, WorkspaceBytes))
            {
                var time = Time(plan, candidate, operands);
                (fastest, shortest) = time < shortest ? (candidate, time) : (fastest, shortest);
            }

            if (fastest is { } found)
            {
                _cache.Add(shape, count, found);
            }
        }

        _cache.Save();
    }

    public void Multiply(ProductShape shape, ProductOperands operands, int rows)
    {
        _device.MakeCurrent();
        if (!_plans.TryGetValue((shape, rows), out var plan))
        {
            _plans.Add((shape, rows), plan = Choose(new Plan(shape, rows)));
        }

        plan.SetBias(operands.Bias);
        Run(plan, plan.Algorithm, operands);
    }

    public void Dispose()
    {
        foreach (var plan in _plans.Values)
        {
            plan.Dispose();
        }

        _plans.Clear();
        _workspace.Dispose();
        _ = CublasLt.cublasLtDestroy(_library);
    }

    private Plan Choose(Plan plan)
    {
        try
        {
            foreach (var known in _cache.From(plan.Shape, plan.Rows))
            {
                if (plan.Accepts(_library, known, WorkspaceBytes))
                {
                    plan.Algorithm = known;
                    return plan;
                }
            }

            var proposed = plan.Propose(_library, 1, WorkspaceBytes);
            plan.Algorithm = proposed.Count > 0 ? proposed[0] : throw new CudaUnavailableException(
                $"cuBLASLt has no algorithm for {plan.Rows} rows of {plan.Shape.Inputs} inputs and {plan.Shape.Outputs} outputs; --cuda-gemm own does without cuBLASLt");
            return plan;
        }
        catch
        {
            plan.Dispose();
            throw;
        }
    }

    private TimeSpan Time(Plan plan, MatmulAlgorithm algorithm, ProductOperands operands)
    {
        using GpuEvent begin = _device.CreateEvent(), end = _device.CreateEvent();
        Run(plan, algorithm, operands);
        _device.Record(_stream, begin);
        for (int run = 0; run < Runs; run++)
        {
            Run(plan, algorithm, operands);
        }

        _device.Record(_stream, end);
        return _device.Elapsed(begin, end);
    }

    private void Run(Plan plan, MatmulAlgorithm algorithm, ProductOperands operands)
    {
        float one = 1, zero = 0;
        CublasLt.Check(
            CublasLt.cublasLtMatmul(
                _library, plan.Description, &one, operands.Weights, plan.Weights, operands.Inputs, plan.Inputs, &zero, operands.Outputs, plan.Outputs, operands.Outputs, plan.Outputs,
                &algorithm, _workspace.Value, (nuint)WorkspaceBytes, _stream.Value),
            nameof(CublasLt.cublasLtMatmul));
    }

    /// <summary>
    /// One shape and number of rows as cuBLASLt describes them. Its matrices lie by columns: outputs^T [outputs, rows] = weights^T^T * inputs^T.
    /// </summary>
    private sealed class Plan : IDisposable
    {
        private nint _description, _weights, _inputs, _outputs;

        public Plan(ProductShape shape, int rows)
        {
            (Shape, Rows) = (shape, rows);
            try
            {
                int type = shape.Compute == ComputeType.BFloat16 ? CublasLt.TypeBFloat16 : CublasLt.TypeFloat16;
                CublasLt.Check(CublasLt.cublasLtMatmulDescCreate(out _description, CublasLt.Compute32F, CublasLt.TypeFloat32), nameof(CublasLt.cublasLtMatmulDescCreate));
                int transposed = CublasLt.Transposed;
                Set(CublasLt.DescTransposeA, &transposed, sizeof(int));
                if (shape.Bias)
                {
                    uint epilogue = CublasLt.EpilogueBias;
                    Set(CublasLt.DescEpilogue, &epilogue, sizeof(uint));
                }

                _weights = Layout(type, shape.Inputs, shape.Outputs);
                _inputs = Layout(type, shape.Inputs, rows);
                _outputs = Layout(shape.Floats ? CublasLt.TypeFloat32 : type, shape.Outputs, rows);
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        public ProductShape Shape { get; }

        public int Rows { get; }

        public nint Description => _description;

        public nint Weights => _weights;

        public nint Inputs => _inputs;

        public nint Outputs => _outputs;

        public MatmulAlgorithm Algorithm { get; set; }

        public void SetBias(nint bias)
        {
            if (Shape.Bias)
            {
                Set(CublasLt.DescBiasPointer, &bias, (nuint)sizeof(nint));
            }
        }

        public bool Accepts(nint library, MatmulAlgorithm algorithm, long workspaceBytes)
        {
            int status = CublasLt.cublasLtMatmulAlgoCheck(library, _description, _weights, _inputs, _outputs, _outputs, &algorithm, out var result);
            return status == CublasLt.Success && result.State == CublasLt.Success && result.WorkspaceBytes <= (nuint)workspaceBytes;
        }

        public List<MatmulAlgorithm> Propose(nint library, int most, long workspaceBytes)
        {
            CublasLt.Check(CublasLt.cublasLtMatmulPreferenceCreate(out nint preference), nameof(CublasLt.cublasLtMatmulPreferenceCreate));
            try
            {
                nuint bytes = (nuint)workspaceBytes;
                CublasLt.Check(
                    CublasLt.cublasLtMatmulPreferenceSetAttribute(preference, CublasLt.PreferenceMaxWorkspaceBytes, &bytes, (nuint)sizeof(nuint)), nameof(CublasLt.cublasLtMatmulPreferenceSetAttribute));
                var results = stackalloc MatmulHeuristic[most];
                int status = CublasLt.cublasLtMatmulAlgoGetHeuristic(library, _description, _weights, _inputs, _outputs, _outputs, preference, most, results, out int found);
                var proposed = new List<MatmulAlgorithm>();
                for (int i = 0; status == CublasLt.Success && i < found; i++)
                {
                    if (results[i].State == CublasLt.Success)
                    {
                        proposed.Add(results[i].Algorithm);
                    }
                }

                return proposed;
            }
            finally
            {
                _ = CublasLt.cublasLtMatmulPreferenceDestroy(preference);
            }
        }

        public void Dispose()
        {
            foreach (nint layout in (ReadOnlySpan<nint>)[_weights, _inputs, _outputs])
            {
                if (layout != 0)
                {
                    _ = CublasLt.cublasLtMatrixLayoutDestroy(layout);
                }
            }

            if (_description != 0)
            {
                _ = CublasLt.cublasLtMatmulDescDestroy(_description);
            }

            (_description, _weights, _inputs, _outputs) = (0, 0, 0, 0);
        }

        private static nint Layout(int type, int rows, int columns)
        {
            CublasLt.Check(CublasLt.cublasLtMatrixLayoutCreate(out nint layout, type, (ulong)rows, (ulong)columns, rows), nameof(CublasLt.cublasLtMatrixLayoutCreate));
            return layout;
        }

        private void Set(int attribute, void* value, nuint bytes) =>
            CublasLt.Check(CublasLt.cublasLtMatmulDescSetAttribute(_description, attribute, value, bytes), nameof(CublasLt.cublasLtMatmulDescSetAttribute));
    }
}

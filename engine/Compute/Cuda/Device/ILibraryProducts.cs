using ScriptedServe.Engine.Compute.Cuda.Compilation;

namespace ScriptedServe.Engine.Compute.Cuda.Device;

/// <summary>Which kernels multiply many rows with weights.</summary>
public enum ManyRowProducts
{
    /// <summary>Kernels/WideGemm.cu, whose sums run as those of few rows.</summary>
    Own,

    /// <summary>Kernels/HopperGemm.cu where there are enough rows: the sums of <see cref="Own"/> by other instructions, if the GPU's give the same bits, which is looked at when a model is loaded.</summary>
    Hopper,

    /// <summary>cuBLASLt, whose sums run as it likes for each number of rows.</summary>
    CublasLt,
}

/// <summary>A product with weights of the compute type; the number of rows is asked for with each call.</summary>
/// <param name="Floats">The outputs are f32, else of the compute type.</param>
internal readonly record struct ProductShape(int Outputs, int Inputs, ComputeType Compute, bool Floats, bool Bias);

/// <summary>Where the operands of a product lie; <paramref name="Bias"/> is 0 for none.</summary>
internal readonly record struct ProductOperands(nint Outputs, nint Inputs, nint Weights, nint Bias);

/// <summary>Products by a library of the device's maker, in the order of the GPU's stream. Each number of rows has an algorithm of its own, which stays the same until the end.</summary>
internal interface ILibraryProducts : IDisposable
{
    /// <summary>Finds the fastest algorithm for each of these numbers of rows, unless it is known from an earlier start. Overwrites the outputs.</summary>
    void Tune(ProductShape shape, ProductOperands operands, IReadOnlyList<int> rows);

    /// <summary>outputs [rows, outputs] = inputs [rows, inputs] * weights [outputs, inputs]^T + bias. Can be recorded.</summary>
    void Multiply(ProductShape shape, ProductOperands operands, int rows);
}

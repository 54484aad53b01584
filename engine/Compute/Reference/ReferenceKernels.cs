namespace ScriptedServe.Engine.Compute.Reference;

/// <summary>
/// The oracle of the fast kernels: the definition of each operation, written as loops, in double precision. Not used in serving.
/// </summary>
public static class ReferenceKernels
{
    /// <summary>
    /// outputs[r, o] = bias[o] + sum of inputs[r, i] * weights[o, i] in f32, one fused multiply-add after the other in ascending i:
    /// the very chain that the fast kernels promise, so they must agree bit for bit.
    /// </summary>
    public static float[] MultiplyChain(float[] inputs, float[] weights, float[] bias, int rows, int inputCount, int outputCount)
    {
        var outputs = new float[rows * outputCount];
        for (int row = 0; row < rows; row++)
        {
            for (int output = 0; output < outputCount; output++)
            {
                float sum = bias[output];
                for (int input = 0; input < inputCount; input++)
                {
                    sum = MathF.FusedMultiplyAdd(inputs[row * inputCount + input], weights[output * inputCount + input], sum);
                }

                outputs[row * outputCount + output] = sum;
            }
        }

        return outputs;
    }

    /// <summary>weights * x + bias; weights are <c>[bias.Length, x.Length]</c>.</summary>
    public static double[] Multiply(double[] weights, double[] bias, double[] x)
    {
        var result = (double[])bias.Clone();
        for (int output = 0; output < result.Length; output++)
        {
            var row = weights.AsSpan(output * x.Length, x.Length);
            for (int input = 0; input < x.Length; input++)
            {
                result[output] += row[input] * x[input];
            }
        }

        return result;
    }

    public static double[] RmsNorm(double[] x, double[] weight, double epsilon)
    {
        double scale = 1 / Math.Sqrt(x.Sum(value => value * value) / x.Length + epsilon);
        return [.. x.Select((value, i) => value * scale * weight[i])];
    }

    /// <summary>Rotates each head of x by the position: pair (i, i + headDim/2) by position * frequencies[i].</summary>
    public static double[] Rotate(double[] x, int headDim, int position, double[] frequencies)
    {
        var rotated = new double[x.Length];
        int half = headDim / 2;
        for (int head = 0; head < x.Length; head += headDim)
        {
            for (int i = 0; i < half; i++)
            {
                var (sin, cos) = Math.SinCos(position * frequencies[i]);
                rotated[head + i] = x[head + i] * cos - x[head + half + i] * sin;
                rotated[head + half + i] = x[head + half + i] * cos + x[head + i] * sin;
            }
        }

        return rotated;
    }

    /// <summary>Attention of one query head over the visible tokens' keys and values of its key/value head.</summary>
    public static double[] Attend(double[] query, IReadOnlyList<double[]> keys, IReadOnlyList<double[]> values)
    {
        double[] scores = [.. keys.Select(key => query.Zip(key, (q, k) => q * k).Sum() / Math.Sqrt(query.Length))];
        double max = scores.Max();
        double[] weights = [.. scores.Select(score => Math.Exp(score - max))];
        double sum = weights.Sum();
        var result = new double[query.Length];
        for (int t = 0; t < weights.Length; t++)
        {
            for (int d = 0; d < result.Length; d++)
            {
                result[d] += weights[t] / sum * values[t][d];
            }
        }

        return result;
    }

    public static double[] SiluMultiply(double[] gate, double[] up) => [.. gate.Select((value, i) => value / (1 + Math.Exp(-value)) * up[i])];
}

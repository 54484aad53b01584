namespace ScriptedServe.Engine.Sampling;

/// <summary>Selects the largest values without sorting all of them. Reuses its buffer: one caller at a time.</summary>
public sealed class TopSelection(int capacity)
{
    private readonly int[] _heap = new int[capacity];

    /// <summary>
    /// Indices of the <paramref name="count"/> largest values, largest first, equal ones by lower index. Valid until the next call.
    /// O(n log count).
    /// </summary>
    public Span<int> Largest(ReadOnlySpan<float> values, int count)
    {
        var heap = _heap.AsSpan(0, count);
        if (count == 0)
        {
            return heap;
        }

        // A heap with the weakest of the chosen on top.
        for (var index = 0; index < count; index++)
        {
            heap[index] = index;
        }

        for (var root = (count / 2) - 1; root >= 0; root--)
        {
            SiftDown(heap, root, values);
        }

        for (var index = count; index < values.Length; index++)
        {
            // An equal value with a higher index is the weaker one.
            if (values[index] > values[heap[0]])
            {
                heap[0] = index;
                SiftDown(heap, 0, values);
            }
        }

        for (var end = count - 1; end > 0; end--)
        {
            (heap[0], heap[end]) = (heap[end], heap[0]);
            SiftDown(heap[..end], 0, values);
        }

        return heap;
    }

    private static bool Weaker(int left, int right, ReadOnlySpan<float> values) =>
        values[left] < values[right] || (values[left] == values[right] && left > right);

    private static void SiftDown(Span<int> heap, int root, ReadOnlySpan<float> values)
    {
        while (true)
        {
            var child = (2 * root) + 1;
            if (child >= heap.Length)
            {
                return;
            }

            if (child + 1 < heap.Length && Weaker(heap[child + 1], heap[child], values))
            {
                child++;
            }

            if (!Weaker(heap[child], heap[root], values))
            {
                return;
            }

            (heap[root], heap[child]) = (heap[child], heap[root]);
            root = child;
        }
    }
}

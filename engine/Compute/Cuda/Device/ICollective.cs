namespace ScriptedServe.Engine.Compute.Cuda.Device;

/// <summary>
/// One rank's part in what the GPUs of a model do together, in the order of its GPU's stream. All ranks make the same calls in the same order, each on a thread of its own; what a call
/// gives is the same bits on all of them. Dispose of it before its GPU.
/// </summary>
internal interface ICollective : IDisposable
{
    /// <summary>Each of the f32 values becomes the sum over all ranks. Can be recorded.</summary>
    void Sum(nint values, long count);

    /// <summary>The bytes become those of rank 0. Can be recorded.</summary>
    void Broadcast(nint values, long bytes);

    /// <summary>Ends what is under way, also on ranks that wait for this one: nothing more can be done together. From any thread; never throws.</summary>
    void Abort();
}

namespace ScriptedServe.Engine.Options;

/// <summary>All options of the engine.</summary>
public static class EngineSettings
{
    public static readonly EngineSetting Model = new("model", "DIR", "Folder of a Hugging Face model, or the name of a built-in one, or synthetic[:vocab=1024,context=8192,layers=2,kv-heads=1,head-dim=8,step-us=0,token-us=0]: no weights, made-up tokens, steps as long as asked for. Default: the built-in model.");
    public static readonly EngineSetting Device = new("device", "NAME", "What computes: cpu, or cuda:N, the GPU of that number (cuda is the first). Default: cpu.");
    public static readonly EngineSetting CudaLibs = new("cuda-libs", "DIR", "Folder in which CUDA's libraries (NVRTC, cuBLASLt) are looked for first; after it CUDA_HOME, the usual places and a pip PyTorch. May be given several times.", Many: true);
    public static readonly EngineSetting CudaGemm = new("cuda-gemm", "NAME", "What multiplies more than 16 rows with weights on a GPU: own, kernels that sum in one order, so that a token has the same bits decoded and in a prompt, in every batch and split over engines; wgmma, the same sums by the instructions of sm_90 (H100, H200) where a step has more than 64 rows, refused at the start by a GPU on which they give other bits; or cublaslt, whose order changes with the number of rows, so that a token may come out differently by what is computed beside it, and whose algorithms are timed at the first start and kept in the user's cache folder. Engines that exchange KV need the same. Weights of 8 bits have own alone. Default: own.");
    public static readonly EngineSetting Weights = new("weights", "NAME", "What weights are kept as in memory: auto (as in the folder), f32, bf16, int8 (8.5 bits a weight, in groups of 32), or fp8 (e4m3, in the same groups; GPUs alone). Engines that exchange KV need the same. A GPU has all but f32, and takes auto as 16 bits. Default: auto.");
    public static readonly EngineSetting WeightCache = new("weight-cache", "DIR", "Folder in which packed weights are kept, for the next start and for all engines of this machine to have in memory once together; off for none. What was not used for 30 days is removed. Default: scriptedserve/weights in XDG_CACHE_HOME or ~/.cache.");
    public static readonly EngineSetting WeightCacheLimit = new("weight-cache-limit", "SIZE", "Most bytes of that folder; what was not used for longest is removed first. Default: 64GiB.");
    public static readonly EngineSetting Listen = new("listen", "ADDRESS", "Where calls are taken: unix:PATH or http://HOST:PORT, port 0 for a free one. Default: http://127.0.0.1:8100. Other machines must present a token made from the cluster's secret.");
    public static readonly EngineSetting KvListen = new("kv-listen", "HOST:PORT", "Where KV of other machines is taken, port 0 for a free one. Default: the host of --listen, or 127.0.0.1, and a free port.");
    public static readonly EngineSetting KvAdvertise = new("kv-advertise", "HOST", "Name or address by which other machines reach --kv-listen. Default: its host. Needed where that is * or 0.0.0.0.");
    public static readonly EngineSetting KvTransport = new("kv-transport", "NAME", "How KV is sent and received: auto (shared memory or CUDA IPC between engines of this machine, else TCP) or tcp. Default: auto.");
    public static readonly EngineSetting KvMemory = new("kv-memory", "SIZE", "Memory of the KV pool, as in 512MiB or 2GiB; on a GPU it is the GPU's. Default: 1GiB, at most 16 TiB.");
    public static readonly EngineSetting KvDataType = new("kv-dtype", "TYPE", "What keys and values are kept as: f32, bf16 or f16. Those of 16 bits take half the memory and are rounded as they are stored. The same on engines that exchange KV. Default: f32; on a GPU what it computes in.");
    public static readonly EngineSetting PageTokens = new("page-tokens", "N", "Tokens of a KV page, 1 to 4096. The same on engines that exchange KV. Default: 16.");
    public static readonly EngineSetting MaxBatchTokens = new("max-batch-tokens", "N", "Tokens computed in a step, 1 to 65536, at least --max-sequences. Default: 512.");
    public static readonly EngineSetting MaxSequences = new("max-sequences", "N", "Sequences computed at a time, 1 to 4096. Default: 64.");
    public static readonly EngineSetting MaxWaiting = new("max-waiting", "N", "Calls that may wait for pages or a seat, 1 to 1000000. Default: 1024.");
    public static readonly EngineSetting MaxWait = new("max-wait", "SECONDS", "How long a call may wait for pages or a seat, above 0. Default: 30.");
    public static readonly EngineSetting MaxUnread = new("max-unread", "SECONDS", "How long a generation whose caller reads nothing is kept, above 0. Default: 600.");
    public static readonly EngineSetting MaxLease = new("max-lease", "SECONDS", "The longest lease of a reservation, and its longest life with all renewals, above 0. Default: 3600.");
    public static readonly EngineSetting SendTimeout = new("send-timeout", "SECONDS", "How long a send whose KV is computed waits for a receiver that takes nothing, above 0. Default: 30.");
    public static readonly EngineSetting TensorParallel = new("tensor-parallel", "N", "Ranks that the model is divided among, 1 to 64: each has its heads of the attention and of the KV, and its part of the weights, and gets as many of the threads. On the CPU the tokens are the same, bit for bit; on GPUs, which are those from the one of --device on, a rank each, joined by NCCL, sums are added up in another order. Engines of any number exchange KV. Default: 1.");
    public static readonly EngineSetting Threads = new("threads", "N", "Threads that compute, 1 to 256, a multiple of --tensor-parallel. Idle ones sleep. Default: one a processor, or of --cpus.");
    public static readonly EngineSetting Processors = new("cpus", "LIST", "Processors to compute on, as in 0,4-7: one thread each, pinned to it (Linux). Engines of one machine take different ones: two threads pinned to one processor halve both. The first ranks of --tensor-parallel get the first ones. Default: the threads go where the system puts them.");
    public static readonly EngineSetting Label = new("label", "NAME", "A role or other label, as in prefill. May be given several times.", Many: true);
    public static readonly EngineSetting ClusterSecretFile = new("cluster-secret-file", "FILE", "Secret shared by engines that exchange KV, at least 16 bytes. Default: ~/.scriptedserve/cluster-secret, made on first use.");
    public static readonly EngineSetting EngineId = new("engine-id", "ID", "Names the engine, up to 128 characters. Default: engine- and random digits.", Alias: "--id");
    public static readonly EngineSetting ParentPid = new("parent-pid", "PID", "Process whose end ends the engine. Default: none.");

    public static IReadOnlyList<EngineSetting> All { get; } =
    [
        Model, Device, CudaLibs, CudaGemm, Weights, WeightCache, WeightCacheLimit, Listen, KvListen, KvAdvertise, KvTransport, KvMemory, KvDataType, PageTokens, MaxBatchTokens, MaxSequences, MaxWaiting, MaxWait, MaxUnread, MaxLease,
        SendTimeout, TensorParallel, Threads, Processors, Label, ClusterSecretFile, EngineId, ParentPid,
    ];
}

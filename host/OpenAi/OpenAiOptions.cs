using ScriptedServe.Scripting;

namespace ScriptedServe.Host.OpenAi;

/// <summary>What the HTTP API says and checks about the served model.</summary>
/// <param name="Id">As clients name it in <c>model</c>.</param>
/// <param name="ContextLength">Prompt and generated tokens together.</param>
/// <param name="VocabSize">Token ids are below it.</param>
/// <param name="DefaultSampling">What holds where a request says nothing (the model's generation_config.json); seed, limits and logprobs in it are not used.</param>
public sealed record ModelFacts(string Id, int ContextLength, int VocabSize, Sampling DefaultSampling);

/// <summary>Limits and access of the OpenAI-compatible API.</summary>
public sealed record OpenAiOptions
{
    /// <summary>If set, each call must carry it as <c>Authorization: Bearer …</c>. None by default.</summary>
    public string? ApiKey { get; init; }

    /// <summary>A response that has not been taken some seconds after this time is cut off; 10 minutes by default.</summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Largest request body in bytes; 8 MiB by default.</summary>
    public int MaxBodyBytes { get; init; } = 8 << 20;

    /// <summary>Largest <c>n</c>; 16 by default.</summary>
    public int MaxChoices { get; init; } = 16;

    /// <summary>Most generations of one call, prompts times <c>n</c>; 128 by default.</summary>
    public int MaxGenerations { get; init; } = 128;
}

/// <summary>Draws 64 random bits: ids, and seeds of requests that name none.</summary>
public delegate ulong RandomBits();

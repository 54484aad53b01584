namespace ScriptedServe.Engine.Scheduling;

/// <summary>Answers to callers that wait until the books are published, so that who asks after an answer sees its effect. The core's thread alone touches it.</summary>
public sealed class ReplyQueue
{
    private readonly List<Action> _replies = [];

    /// <param name="reply">Must not throw, and runs nothing of the caller's.</param>
    public void Add(Action reply) => _replies.Add(reply);

    public void Send()
    {
        foreach (var reply in _replies)
        {
            reply();
        }

        _replies.Clear();
    }
}

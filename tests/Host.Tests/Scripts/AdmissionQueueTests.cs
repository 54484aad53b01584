using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Tests.Scripts;

public sealed class AdmissionQueueTests
{
    /// <summary>Random steps beside a model of the line: who is in, who waits, in which order.</summary>
    [Fact]
    public async Task Never_more_than_the_limit_are_in_and_the_lowest_order_goes_first_whatever_happens()
    {
        for (var seed = 0; seed < 100; seed++)
        {
            var random = new Random(seed);
            var limit = 2;
            var queue = new AdmissionQueue(limit);
            List<Visitor> inside = [], line = [];
            for (var step = 0; step < 60; step++)
            {
                switch (random.Next(6))
                {
                    case < 3:
                        var request = new CancellationTokenSource();
                        var order = random.Next(4);
                        line.Add(new Visitor(order, request, queue.Enter(new FakeRequest(1, cancelled: request.Token), order)));
                        break;
                    case 3 when inside.Count > 0:
                        var leaver = inside[random.Next(inside.Count)];
                        (await leaver.Entering).Dispose();
                        inside.Remove(leaver);
                        break;
                    case 4 when inside.Count + line.Count > 0:
                        var gone = inside.Concat(line).ElementAt(random.Next(inside.Count + line.Count));
                        await gone.Request.CancelAsync();
                        if (line.Remove(gone))
                        {
                            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => gone.Entering);
                        }

                        inside.Remove(gone);
                        break;
                    case 5:
                        queue.Limit = limit = random.Next(1, 4);
                        break;
                }

                while (inside.Count < limit && line.Count > 0)
                {
                    // MinBy takes the first of equals.
                    var next = line.MinBy(visitor => visitor.Order)!;
                    line.Remove(next);
                    inside.Add(next);
                    Assert.Equal(inside.Count >= limit || line.Count == 0 ? next.Order : queue.LastOrder, queue.LastOrder);
                }

                Assert.Equal((inside.Count, line.Count), (queue.Admitted, queue.Waiting));
                await Task.WhenAll(inside.Select(visitor => visitor.Entering)).WaitAsync(TimeSpan.FromSeconds(30));
                Assert.DoesNotContain(line, visitor => visitor.Entering.IsCompleted);
            }
        }
    }

    [Fact]
    public async Task A_place_is_given_back_by_the_end_of_the_request_and_once_only()
    {
        var queue = new AdmissionQueue(1);
        using var request = new CancellationTokenSource();
        var place = await queue.Enter(new FakeRequest(1, cancelled: request.Token));
        var next = queue.Enter(new FakeRequest(1));
        Assert.Equal((1, 1, false), (queue.Admitted, queue.Waiting, next.IsCompleted));
        await request.CancelAsync();
        (await next).Dispose();
        place.Dispose();
        place.Dispose();
        Assert.Equal((0, 0), (queue.Admitted, queue.Waiting));
    }

    [Fact]
    public async Task A_request_that_has_ended_holds_no_place()
    {
        var queue = new AdmissionQueue(1);
        using var first = await queue.Enter(new FakeRequest(1));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => queue.Enter(new FakeRequest(1, cancelled: new CancellationToken(canceled: true))));
        Assert.Equal((1, 0), (queue.Admitted, queue.Waiting));
    }

    private sealed record Visitor(double Order, CancellationTokenSource Request, Task<IDisposable> Entering);
}

using Microsoft.Extensions.Time.Testing;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Requests.Figures;

namespace ScriptedServe.Host.Tests.Requests;

public sealed class FigureTests
{
    [Fact]
    public void A_quantile_is_off_by_at_most_a_twentieth_and_its_lower_bound_holds()
    {
        for (var seed = 0; seed < 100; seed++)
        {
            var random = new Random(seed);
            double[] all = [.. Enumerable.Range(0, random.Next(1, 500)).Select(_ => Math.Exp((random.NextDouble() * 12) - 8)).Order()];
            var (one, other) = (new LatencyHistogram(), new LatencyHistogram());
            foreach (var seconds in all)
            {
                (random.Next(2) == 0 ? one : other).Add(seconds);
            }

            one.Add(other);
            foreach (var share in (double[])[0.01, 0.5, 0.95, 1])
            {
                var exact = all[(int)Math.Ceiling(share * all.Length) - 1];
                Assert.InRange(one.Quantile(share), exact * 0.95, exact * 1.06);
                Assert.True(one.QuantileAtLeast(share, 2.58) <= one.Quantile(share));
            }
        }

        Assert.Equal(0, new LatencyHistogram().Quantile(0.5));
    }

    [Fact]
    public void What_ended_longer_ago_than_the_window_is_forgotten_and_nothing_else_is()
    {
        var time = new FakeTimeProvider();
        var window = new FigureWindow(time, TimeSpan.FromSeconds(60));
        var random = new Random(7);
        var ends = new List<DateTimeOffset>();
        for (var i = 0; i < 2000; i++)
        {
            time.Advance(TimeSpan.FromMilliseconds(random.Next(100) == 0 ? random.Next(120_000) : random.Next(300)));
            window.Add(new RequestEnd(CallOutcome.Ok, RequestFault.None, 0.1, null, 1));
            ends.Add(time.GetUtcNow());
            var (counts, seconds) = window.Read();
            Assert.InRange(seconds, 0, 60);
            Assert.InRange(counts.Ended, ends.Count(end => time.GetUtcNow() - end < TimeSpan.FromSeconds(55)), ends.Count(end => time.GetUtcNow() - end <= TimeSpan.FromSeconds(60)));
            Assert.Equal(counts.Ended, counts.Ttft.Count);
        }

        time.Advance(TimeSpan.FromSeconds(61));
        Assert.Equal(0, window.Read().Counts.Ended);
    }

    [Fact]
    public void Of_too_many_versions_those_that_served_longest_ago_are_forgotten()
    {
        var time = new FakeTimeProvider();
        var book = new FigureBook(time, TimeSpan.FromSeconds(60), most: 3);
        foreach (var version in (int[])[1, 2, 3, 1, 4])
        {
            time.Advance(TimeSpan.FromSeconds(1));
            var trace = new RequestTrace("req-1", $"main@{version}", 1, time);
            trace.End(CallOutcome.Failed, error: "x", fault: RequestFault.Script);
            book.RequestEnded("main", trace);
        }

        Assert.Equal(["main@1", "main@3", "main@4"], book.All().Select(figures => figures.Label));
        Assert.Equal((2, 2), (book.Find("main@1")!.Total().Failed, book.Find("main@1")!.Total().Of(RequestFault.Script)));
        Assert.Null(book.Find("main@2"));
    }
}

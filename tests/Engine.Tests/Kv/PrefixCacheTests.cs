using ScriptedServe.Contracts;
using ScriptedServe.Engine.Kv;

namespace ScriptedServe.Engine.Tests.Kv;

public sealed class PrefixCacheTests
{
    private const int PageTokens = 4;

    [Fact]
    public void What_was_stored_is_found_again_to_the_token_and_nothing_else()
    {
        var cache = New(pages: 16);
        Store(cache, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        Store(cache, [1, 2, 3, 4, 50, 60, 70, 80]);

        Assert.Equal(10, Matched(cache, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
        Assert.Equal(10, Matched(cache, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]));
        Assert.Equal(7, Matched(cache, [1, 2, 3, 4, 5, 6, 7]));
        Assert.Equal(6, Matched(cache, [1, 2, 3, 4, 50, 60, 7, 8]));
        Assert.Equal(2, Matched(cache, [1, 2, 9]));
        Assert.Equal(0, Matched(cache, [9]));
        Assert.Equal(0, Matched(cache, []));
    }

    [Fact]
    public void The_same_pages_stored_twice_are_kept_once()
    {
        var cache = New(pages: 16);
        var first = Filled(cache, 8);
        var second = Filled(cache, 8);
        int[] tokens = [1, 2, 3, 4, 5, 6, 7, 8];
        first.Publish(tokens, withTail: true);
        second.Publish(tokens, withTail: true);

        Assert.Equal(first.Pages.ToArray(), second.Pages.ToArray());
        Assert.Equal(2, cache.Pages.Held);
        first.Release();
        Assert.Equal(2, cache.Pages.Held);
        second.Release();
        Assert.Equal((0, 2), (cache.Pages.Held, cache.Pages.Idle));
    }

    [Fact]
    public void The_least_recently_used_leaf_goes_first_and_what_is_held_stays()
    {
        var cache = New(pages: 4);
        Store(cache, [1, 2, 3, 4, 5, 6, 7, 8]);
        Store(cache, [10, 20, 30, 40]);
        Assert.Equal(8, Matched(cache, [1, 2, 3, 4, 5, 6, 7, 8]));
        var held = new BlockTable(cache);
        Assert.Equal(4, held.Match([1, 2, 3, 4]));

        Assert.True(new BlockTable(cache).TryExtend(2 * PageTokens));
        Assert.Equal(0, Matched(cache, [10, 20, 30, 40]));
        Assert.Equal(8, Matched(cache, [1, 2, 3, 4, 5, 6, 7, 8]));

        Assert.True(new BlockTable(cache).TryExtend(PageTokens));
        Assert.Equal(4, Matched(cache, [1, 2, 3, 4, 5, 6, 7, 8]));
        Assert.False(new BlockTable(cache).TryExtend(PageTokens));
        cache.CheckIntegrity();
    }

    [Fact]
    public void A_page_in_use_by_others_is_copied_before_it_is_written()
    {
        var cache = New(pages: 4);
        Store(cache, [1, 2, 3, 4, 5, 6]);
        var copies = new List<(int From, int To)>();
        var table = new BlockTable(cache);
        Assert.Equal(5, table.Match([1, 2, 3, 4, 5, 9]));
        var shared = table[1];
        Assert.True(table.TryMakeRoom(5, 6, (from, to) => copies.Add((from, to))));

        Assert.Equal([(shared, table[1])], copies);
        Assert.NotEqual(shared, table[1]);
        Assert.Equal(6, Matched(cache, [1, 2, 3, 4, 5, 6]));
    }

    [Fact]
    public void Without_a_page_for_the_copy_the_only_holder_takes_the_page_out_of_the_cache()
    {
        var cache = New(pages: 2);
        Store(cache, [1, 2, 3, 4, 5, 6]);
        var table = new BlockTable(cache);
        _ = table.Match([1, 2, 3, 4, 5]);

        Assert.True(table.TryMakeRoom(5, 6, (_, _) => Assert.Fail("There is no page to copy to")));
        Assert.Equal(4, Matched(cache, [1, 2, 3, 4, 5, 6]));
        table.Release();
        cache.CheckIntegrity();
    }

    [Fact]
    public void Nothing_is_copied_evicted_or_withdrawn_for_a_table_that_does_not_find_all_its_pages()
    {
        var cache = New(pages: 4);
        Store(cache, [9, 9, 9, 9]);
        Store(cache, [1, 2, 3, 4, 5, 6]);
        var table = new BlockTable(cache);
        _ = table.Match([1, 2, 3, 4, 5]);

        Assert.False(table.TryMakeRoom(5, 17, (_, _) => Assert.Fail("There are not pages enough")));
        Assert.Equal(4, Matched(cache, [9, 9, 9, 9]));
        Assert.Equal(6, Matched(cache, [1, 2, 3, 4, 5, 6]));
        Assert.Equal(2, table.Count);

        // The page copied from makes room for the last of the pages.
        Assert.True(table.TryMakeRoom(5, 16, (_, _) => Assert.Fail("Its place is needed")));
        Assert.Equal(4, table.Count);
        table.Release();
        cache.CheckIntegrity();
    }

    [Fact]
    public void A_copy_that_fails_takes_no_page()
    {
        var cache = New(pages: 4);
        Store(cache, [1, 2, 3, 4, 5, 6]);
        var table = new BlockTable(cache);
        _ = table.Match([1, 2, 3, 4, 5, 9]);
        Assert.Throws<InvalidTimeZoneException>(() => table.TryMakeRoom(5, 6, (_, _) => throw new InvalidTimeZoneException()));
        table.Release();
        Assert.Equal(0, cache.Pages.Held);
        cache.CheckIntegrity();
    }

    [Fact]
    public void What_is_discarded_is_not_found_again_whoever_holds_it_or_continues_it()
    {
        var cache = New(pages: 8);
        Store(cache, [1, 2, 3, 4, 5, 6, 7, 8]);
        Store(cache, [1, 2, 3, 4, 9, 9, 9, 9]);
        var (bad, other) = (new BlockTable(cache), new BlockTable(cache));
        _ = bad.Match([1, 2, 3, 4, 5, 6, 7, 8]);
        _ = other.Match([1, 2, 3, 4, 9, 9, 9, 9]);
        Assert.True(other.TryExtend(12));

        bad.Discard();
        Assert.Equal(0, Matched(cache, [1, 2, 3, 4, 5, 6, 7, 8]));
        other.Publish([1, 2, 3, 4, 9, 9, 9, 9, 3, 3, 3], withTail: true);
        Assert.Equal(0, Matched(cache, [1, 2, 3, 4, 9, 9, 9, 9, 3, 3, 3]));
        other.Release();
        Assert.Equal(8, cache.Pages.Free);

        // Its pages are as good as any once they are taken anew.
        Store(cache, [1, 2, 3, 4, 9, 9, 9, 9]);
        Assert.Equal(8, Matched(cache, [1, 2, 3, 4, 9, 9, 9, 9]));
        cache.CheckIntegrity();
    }

    /// <summary>Against a plain model: a list of the prefixes that were stored and whose pages were never evicted (the pool is large).</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Matches_are_those_of_a_plain_search_over_all_that_was_stored(int seed)
    {
        var random = new Random(seed);
        var cache = New(pages: 4096);
        var stored = new List<int[]>();
        for (var round = 0; round < 300; round++)
        {
            int[] tokens = [.. Enumerable.Range(0, random.Next(1, 20)).Select(_ => random.Next(3))];
            var longest = stored.Select(known => known.AsSpan().CommonPrefixLength(tokens)).Append(0).Max();
            Assert.Equal(longest, Matched(cache, tokens));
            if (random.Next(2) == 0)
            {
                Store(cache, tokens);
                stored.Add(tokens);
            }

            cache.CheckIntegrity();
        }
    }

    /// <summary>Random tables that match, grow, write, publish and let go in a pool far too small.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void The_books_balance_through_chaos_and_listeners_hear_the_whole_state(int seed)
    {
        var random = new Random(seed);
        var heard = new Listener();
        var cache = new PrefixCache(new PageAllocator(12), PageTokens, heard);
        var tables = new List<(BlockTable Table, int[] Tokens)>();
        for (var round = 0; round < 3000; round++)
        {
            if (tables.Count < 4 && random.Next(3) > 0)
            {
                int[] tokens = [.. Enumerable.Range(0, random.Next(1, 24)).Select(_ => random.Next(2))];
                var table = new BlockTable(cache);
                var matched = table.Match(tokens);
                if (matched < tokens.Length && !table.TryMakeRoom(matched, tokens.Length, (_, _) => { }))
                {
                    table.Release();
                }
                else
                {
                    tables.Add((table, tokens));
                }
            }
            else if (tables.Count > 0)
            {
                var index = random.Next(tables.Count);
                var (table, tokens) = tables[index];
                switch (random.Next(4))
                {
                    case 0:
                        table.Publish(tokens.AsSpan(0, random.Next(tokens.Length)), withTail: false);
                        break;
                    case 1:
                        table.Discard();
                        tables.RemoveAt(index);
                        break;
                    default:
                        table.Publish(tokens, withTail: true);
                        table.Release();
                        tables.RemoveAt(index);
                        break;
                }
            }

            cache.CheckIntegrity();
            Assert.Equal(heard.Pages, cache.WholePages().ToHashSet());
        }

        tables.ForEach(entry => entry.Table.Release());
        Assert.Equal(0, cache.Pages.Held);
    }

    [Fact]
    public void Hashes_told_to_listeners_are_those_the_host_computes_from_a_prompt()
    {
        var heard = new Listener();
        var cache = new PrefixCache(new PageAllocator(8), PageTokens, heard);
        Store(cache, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        var first = PrefixHash.Of(PrefixHash.Root, [1, 2, 3, 4]);
        Assert.Equal([first, PrefixHash.Of(first, [5, 6, 7, 8])], heard.Order);
    }

    private static PrefixCache New(int pages) => new(new PageAllocator(pages), PageTokens);

    private static BlockTable Filled(PrefixCache cache, int tokens)
    {
        var table = new BlockTable(cache);
        Assert.True(table.TryExtend(tokens));
        return table;
    }

    private static void Store(PrefixCache cache, int[] tokens)
    {
        var table = Filled(cache, tokens.Length);
        table.Publish(tokens, withTail: true);
        table.Release();
    }

    private static int Matched(PrefixCache cache, int[] tokens)
    {
        var table = new BlockTable(cache);
        var matched = table.Match(tokens);
        table.Release();
        return matched;
    }

    private sealed class Listener : IPrefixCacheListener
    {
        public HashSet<ulong> Pages { get; } = [];

        public List<ulong> Order { get; } = [];

        public void Stored(ulong hash)
        {
            Assert.True(Pages.Add(hash));
            Order.Add(hash);
        }

        public void Removed(ulong hash) => Assert.True(Pages.Remove(hash));
    }
}

using ScriptedServe.Engine.Compute.Cuda.Compilation;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

public sealed class KernelCacheTests : IDisposable
{
    private static readonly KernelSources Sources = new(new Dictionary<string, string> { ["A.cu"] = "a", ["B.cuh"] = "b" });
    private readonly DirectoryInfo _root = Directory.CreateTempSubdirectory("scriptedserve-kernels-");
    private readonly CountingCompiler _compiler = new();

    private string Folder => Path.Combine(_root.FullName, "deeper", "kernels");

    public void Dispose() => _root.Delete(recursive: true);

    [Fact]
    public void What_was_compiled_once_is_read_back_by_the_next_process()
    {
        var first = Cache().Get(Sources, ["k<1>", "k<2>"], ["--x"]);
        var second = Cache().Get(Sources, ["k<1>", "k<2>"], ["--x"]);
        Assert.Equal(1, _compiler.Runs);
        Assert.Equal(first.Image, second.Image);
        Assert.Equal(first.Names.OrderBy(name => name.Key), second.Names.OrderBy(name => name.Key));
    }

    [Fact]
    public void Whatever_may_change_the_image_is_compiled_anew()
    {
        var changed = new KernelSources(new Dictionary<string, string>(Sources.Files) { ["B.cuh"] = "b " });
        var moved = new KernelSources(new Dictionary<string, string> { ["A.cu"] = "ab", ["B.cuh"] = "" });
        _ = Cache().Get(Sources, ["k"], ["--x"]);
        _ = Cache().Get(changed, ["k"], ["--x"]);
        _ = Cache().Get(moved, ["k"], ["--x"]);
        _ = Cache().Get(Sources, ["k", "l"], ["--x"]);
        _ = Cache().Get(Sources, ["k"], ["--x", "--y"]);
        _ = Cache().Get(Sources, ["k", "--x"], []);
        _ = Cache(driver: "13010").Get(Sources, ["k"], ["--x"]);
        _compiler.Version = "newer";
        _ = Cache().Get(Sources, ["k"], ["--x"]);
        Assert.Equal(8, _compiler.Runs);
    }

    [Fact]
    public void A_file_that_is_damaged_anywhere_is_compiled_anew_and_replaced()
    {
        var expected = Cache().Get(Sources, ["k"], []);
        var path = Directory.GetFiles(Folder).Single();
        var whole = File.ReadAllBytes(path);
        var runs = 1;
        for (var at = 0; at < whole.Length; at += 7)
        {
            var damaged = (byte[])whole.Clone();
            damaged[at] ^= 0x10;
            File.WriteAllBytes(path, damaged);
            Assert.Equal(expected.Image, Cache().Get(Sources, ["k"], []).Image);
            Assert.Equal(++runs, _compiler.Runs);
        }

        foreach (var length in (int[])[0, 1, 31, 32, 33, whole.Length - 1])
        {
            File.WriteAllBytes(path, whole[..length]);
            Assert.Equal(expected.Image, Cache().Get(Sources, ["k"], []).Image);
            Assert.Equal(++runs, _compiler.Runs);
        }

        Assert.Equal(whole, File.ReadAllBytes(path));
    }

    [Fact]
    public void A_folder_that_cannot_be_made_costs_the_time_of_compiling_alone()
    {
        File.WriteAllText(Path.Combine(_root.FullName, "deeper"), "a file");
        Assert.Equal(2, Cache().Get(Sources, ["k"], []).Image.Length);
        Assert.Equal(2, Cache().Get(Sources, ["k"], []).Image.Length);
        Assert.Equal(2, _compiler.Runs);
    }

    [Fact]
    public void Sources_that_do_not_compile_leave_nothing_behind()
    {
        _compiler.Fails = true;
        Assert.Throws<KernelCompilationException>(() => Cache().Get(Sources, ["k"], []));
        Assert.False(Directory.Exists(Folder));
    }

    private KernelCache Cache(string driver = "13000") => new(Folder, _compiler, driver);

    private sealed class CountingCompiler : IKernelCompiler
    {
        public int Runs { get; private set; }

        public bool Fails { get; set; }

        public string Version { get; set; } = "test 1";

        public CompiledKernels Compile(KernelSources sources, IReadOnlyList<string> kernels, IReadOnlyList<string> options)
        {
            Runs++;
            return Fails ? throw new KernelCompilationException("no") : new CompiledKernels([1, 2], kernels.ToDictionary(kernel => kernel, kernel => "_" + kernel));
        }
    }
}

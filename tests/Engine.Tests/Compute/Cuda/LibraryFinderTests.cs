using ScriptedServe.Engine.Compute.Cuda.Native;

namespace ScriptedServe.Engine.Tests.Compute.Cuda;

/// <summary>Where the CUDA libraries are looked for, on made-up machines: folders of empty files.</summary>
public sealed class LibraryFinderTests : IDisposable
{
    private readonly DirectoryInfo _root = Directory.CreateTempSubdirectory("scriptedserve-cuda-");
    private readonly Dictionary<string, string> _environment = [];

    public void Dispose() => _root.Delete(recursive: true);

    [Theory]
    [InlineData("usr/local/cuda/lib64/libnvrtc.so.12")]
    [InlineData("usr/lib/x86_64-linux-gnu/libnvrtc.so.13")]
    [InlineData("usr/local/cuda-12.8/lib64/libnvrtc.so.12")]
    [InlineData("usr/local/lib/python3.11/dist-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")]
    [InlineData("opt/conda/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13")]
    public void A_library_in_a_usual_place_is_found(string path)
    {
        var expected = Make(path);
        Assert.Equal(expected, Find(WantedLibrary.Nvrtc).Path);
    }

    [Fact]
    public void A_pip_PyTorch_of_the_active_environment_comes_before_that_of_the_system()
    {
        _environment["VIRTUAL_ENV"] = Path.Combine(_root.FullName, "venv");
        Make("usr/local/lib/python3.11/dist-packages/nvidia/cublas/lib/libcublasLt.so.12");
        var expected = Make("venv/lib/python3.11/site-packages/nvidia/cublas/lib/libcublasLt.so.12");
        Assert.Equal(expected, Find(WantedLibrary.CublasLt).Path);
    }

    [Fact]
    public void A_folder_that_the_user_names_comes_first()
    {
        Make("usr/local/cuda/lib64/libnvrtc.so.12");
        var expected = Make("mine/libnvrtc.so.12");
        Assert.Equal(expected, Find(WantedLibrary.Nvrtc, Path.Combine(_root.FullName, "mine")).Path);
    }

    [Fact]
    public void The_newer_version_is_taken_wherever_it_is()
    {
        Make("usr/local/cuda/lib64/libnvrtc.so.12");
        var expected = Make("opt/conda/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13");
        Assert.Equal(expected, Find(WantedLibrary.Nvrtc).Path);
    }

    [Fact]
    public void CUDA_HOME_is_asked()
    {
        _environment["CUDA_HOME"] = Path.Combine(_root.FullName, "somewhere");
        var expected = Make("somewhere/lib64/libcublasLt.so.13");
        Assert.Equal(expected, Find(WantedLibrary.CublasLt).Path);
    }

    [Fact]
    public void What_is_missing_is_told_with_where_it_was_looked_for_and_what_to_do()
    {
        var finder = new LibraryFinder(_root.FullName, _environment.GetValueOrDefault);
        // No machine has these; the loader is asked too, which knows this machine's own.
        var wanted = new WantedLibrary("nothing", ["libscriptedserve-nothing.so.1"], "nobody's");
        var error = Assert.Throws<CudaUnavailableException>(() => CudaLibraries.Load(finder, ["/given"], [wanted]));
        Assert.Contains("libscriptedserve-nothing.so.1 was not found (nobody's)", error.Message, StringComparison.Ordinal);
        Assert.Contains("/given", error.Message, StringComparison.Ordinal);
        Assert.Contains(Path.Combine(_root.FullName, "usr/local/cuda/lib64"), error.Message, StringComparison.Ordinal);
        Assert.Contains("--device cpu", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_that_is_no_library_is_told_by_its_path()
    {
        var path = Make("usr/local/cuda/lib64/libscriptedserve-broken.so.1");
        var finder = new LibraryFinder(_root.FullName, _environment.GetValueOrDefault);
        var error = Assert.Throws<CudaUnavailableException>(() => CudaLibraries.Load(finder, [], [new WantedLibrary("broken", ["libscriptedserve-broken.so.1"], "nobody's")]));
        Assert.Contains($"{path} is there and does not load", error.Message, StringComparison.Ordinal);
    }

    private FoundLibrary Find(WantedLibrary library, params string[] given) => new LibraryFinder(_root.FullName, _environment.GetValueOrDefault).Find(library, given);

    private string Make(string path)
    {
        var full = Path.Combine(_root.FullName, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllBytes(full, []);
        return full;
    }
}

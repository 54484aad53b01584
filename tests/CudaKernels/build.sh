#!/usr/bin/env bash
# Compiles the kernels' sources with the emulation: build.sh OUTPUT_FOLDER. OUTPUT_FOLDER/kernel-checks checks the kernels, OUTPUT_FOLDER/libemulated-gpu.so is a GPU for the engine's
# tests; sources that have not changed are not compiled again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"
flags=(-std=c++17 -O1 -g1 -Wall -Wextra -Werror -Wno-unknown-pragmas -Wno-attributes -Wno-maybe-uninitialized -ffp-contract=off -fPIC -U_FORTIFY_SOURCE -I"$here" -I"$here/../../engine/Compute/Cuda/Kernels")
# -fsanitize=thread puts a call before each access to memory; Emulation/Sanitizer.cpp answers it, the compiler's own library is not linked.
instrumented=(-fsanitize=thread --param tsan-instrument-func-entry-exit=0 -include "$here/Emulation/cuda.h")

compile() {
    local source=$1 name object
    shift
    name=$(basename "$source" .cpp)
    # -MM names all that the source includes.
    local hash
    hash=$({ printf '%s\n' "${flags[@]}" "$@"; "${CXX:-g++}" --version; "${CXX:-g++}" "${flags[@]}" "$@" -MM "$source" | tr -d '\\' | tr ' ' '\n' | grep / | sort -u | xargs cat; } | sha256sum | cut -c1-16)
    object=$out/$name-$hash.o
    if [ ! -e "$object" ]; then
        "${CXX:-g++}" "${flags[@]}" "$@" -c "$source" -o "$object.$$"
        mv "$object.$$" "$object"
    fi
    echo "$object" > "$out/$name.object"
}

pids=()
for source in "$here"/*Checks.cpp "$here"/EmulatedGpu.cpp; do
    compile "$source" "${instrumented[@]}" &
    pids+=($!)
done
for source in "$here"/Main.cpp "$here"/Emulation/*.cpp; do
    compile "$source" -include "$here/Emulation/cuda.h" &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid"
done
object_of() { cat "$out/$(basename "$1" .cpp).object"; }
emulation=()
for source in "$here"/Emulation/*.cpp; do
    emulation+=("$(object_of "$source")")
done
checks=("$(object_of "$here/Main.cpp")")
for source in "$here"/*Checks.cpp; do
    checks+=("$(object_of "$source")")
done
link() {
    local target=$1
    shift
    "${CXX:-g++}" "$@" -o "$target.$$"
    mv "$target.$$" "$target"
}
link "$out/kernel-checks" "${checks[@]}" "${emulation[@]}"
link "$out/libemulated-gpu.so" -shared -Wl,-Bsymbolic,-z,defs "$(object_of "$here/EmulatedGpu.cpp")" "${emulation[@]}"

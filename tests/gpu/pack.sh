#!/usr/bin/env bash
# Makes one folder with all that the GPU checks need: pack.sh FOLDER. Carry it to a machine with a GPU and run FOLDER/run there; no SDK, no network and no repository are needed on it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"
out=$(cd "$out" && pwd)
dotnet publish "$here" -c Release -o "$out/program" >&2
# The runtime that published it, as it is installed here.
sdk=$(dirname "$(readlink -f "$(command -v dotnet)")")
version=$(dotnet --list-runtimes | sed -n 's/^Microsoft.NETCore.App \(10\.[^ ]*\) .*/\1/p' | tail -1)
web=$(dotnet --list-runtimes | sed -n 's/^Microsoft.AspNetCore.App \(10\.[^ ]*\) .*/\1/p' | tail -1)
mkdir -p "$out/dotnet/shared/Microsoft.NETCore.App" "$out/dotnet/shared/Microsoft.AspNetCore.App" "$out/dotnet/host"
cp "$sdk/dotnet" "$out/dotnet/"
cp -r "$sdk/host/fxr" "$out/dotnet/host/"
cp -r "$sdk/shared/Microsoft.NETCore.App/$version" "$out/dotnet/shared/Microsoft.NETCore.App/"
cp -r "$sdk/shared/Microsoft.AspNetCore.App/$web" "$out/dotnet/shared/Microsoft.AspNetCore.App/"
cp -r "$here/../data/models" "$out/models"
cat > "$out/run" <<'RUN'
#!/usr/bin/env bash
# run [CUDA_LIBRARIES_FOLDER...]; GPU_CHECKS_WORK: where the big model is written, 16 GB.
work=${GPU_CHECKS_WORK:-/tmp/gpu-checks}
mkdir -p "$work"
here=$(cd "$(dirname "$0")" && pwd)
DOTNET_ROOT="$here/dotnet" exec "$here/dotnet/dotnet" "$here/program/gpu-checks.dll" "$here/models" "$work" "$@"
RUN
chmod +x "$out/run"
echo "$out/run"

#!/usr/bin/env bash
# Compiles a CUDA source for a GPU as far as clang can without a toolkit, to PTX: device.sh SOURCE INCLUDE_FOLDER OUTPUT. What the emulation forgives is an error here: functions that a GPU has not, host code in kernels,
# constraints of inline assembler. The assembler's text itself is not looked at.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
clang=
for name in clang++ clang++-14 clang++-15 clang++-16; do
    if command -v "$name" >/dev/null; then
        clang=$name
        break
    fi
done
[ -n "$clang" ] || { echo "no clang++ on PATH" >&2; exit 1; }
exec "$clang" -x cuda --cuda-device-only --cuda-gpu-arch=sm_86 -nocudainc -nocudalib -Xclang -target-feature -Xclang +ptx75 -std=c++17 -O3 -ffp-contract=off \
    -Wall -Wextra -Werror -Wno-unknown-cuda-version -Wno-unused-command-line-argument -Wno-unused-const-variable -include "$here/Device/builtins.h" -I"$2" -S -o "$3" "$1"

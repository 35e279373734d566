#!/usr/bin/env bash
# Rebuilds the example containers and packages from source.
#
#   build.sh          rebuild every .wasm in place
#   build.sh --check  rebuild into a temporary folder and compare with what is
#                     checked in; exit code 1 if a byte differs
#
# The compiler is Zig from its Python package, at one version: the same sources
# then give the same bytes on every machine. Nothing else is downloaded.
#
#   pip install ziglang==0.17.1

set -euo pipefail
export LC_ALL=C # the order of *.c is the order in the module

zig_version=0.17.1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
resources=$(dirname "$here")
zig=(python3 -m ziglang)

# Linear memory has its stack first, below the data, so that running out of it
# is a trap and not a wrong answer. 64 KiB are enough for programs that do not
# recurse over their input; the others say what they need.
c_flags=(-target wasm32-wasi -std=gnu11 -O2 -Wall -Wextra -Wno-unused-parameter -Werror)
cpp_flags=(-target wasm32-wasi -std=c++17 -O2 -Wall -Wextra -Werror -fno-exceptions -fno-rtti)
small_stack=-Wl,-z,stack-size=65536
medium_stack=-Wl,-z,stack-size=262144
large_stack=-Wl,-z,stack-size=524288

# Each of these runs in the folder of its sources and writes to "$1".

build_cat()      { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_hello()    { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_counter()  { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_pages()    { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_witness()  { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_probe()    { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_greeter()  { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_fs()       { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_wordfreq() { "${zig[@]}" c++ "${cpp_flags[@]}" "$small_stack"  -s ./*.cpp -o "$1"; }
build_jsonq()    { "${zig[@]}" cc  "${c_flags[@]}"   "$medium_stack" -s ./*.c   -o "$1"; }
build_press()    { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_seek()     { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_spout()    { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_minidb()   { "${zig[@]}" cc  "${c_flags[@]}"   "$large_stack"  -s ./*.c   -o "$1"; }
build_yields()   { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_web()      { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }
build_dial()     { "${zig[@]}" cc  "${c_flags[@]}"   "$small_stack"  -s ./*.c   -o "$1"; }

build_digest() {
    "${zig[@]}" build-exe -target wasm32-wasi -O ReleaseSafe -fstrip --stack 131072 \
        -femit-bin="$1" digest.zig
}

# With names, as its backtraces are what it is for, and without debug sections.
build_faults() {
    "${zig[@]}" cc "${c_flags[@]}" "$small_stack" -g0 ./*.c -o "$1"
    python3 "$here/strip_debug_sections.py" "$1"
}

# No C library and no start function: exports and nothing else, in 4 MiB of memory
# that never grows. Contracted or reassociated arithmetic would change checksums.
build_kernels() {
    local name exports=()
    for name in crc32 fib hash mandelbrot matmul nbody sieve sort strings tokens; do
        exports+=("-Wl,--export=$name")
    done
    "${zig[@]}" cc "${c_flags[@]}" "$small_stack" -ffp-contract=off -fno-math-errno -nostdlib \
        -s -Wl,--no-entry "${exports[@]}" -Wl,--initial-memory=4194304 \
        -Wl,--max-memory=4194304 ./*.c -o "$1"
}

# Folder and module; functions above are called by the folder's name.
programs=(
    containers/cat/cat.wasm
    containers/counter/counter.wasm
    containers/digest/digest.wasm
    containers/faults/faults.wasm
    containers/fs/fscheck.wasm
    containers/hello/hello.wasm
    containers/jsonq/jsonq.wasm
    containers/kernels/kernels.wasm
    containers/minidb/minidb.wasm
    containers/pages/pages.wasm
    containers/press/press.wasm
    containers/probe/probe.wasm
    containers/seek/seek.wasm
    containers/spout/spout.wasm
    containers/web/web.wasm
    containers/witness/witness.wasm
    containers/wordfreq/wordfreq.wasm
    containers/yields/yields.wasm
    packages/greeter/main.wasm
    components/dial/module.wasm
)

found_version=$("${zig[@]}" version 2>/dev/null || true)
if [ "$found_version" != "$zig_version" ]; then
    echo "build.sh: needs Zig $zig_version, found '${found_version:-none}';" \
         "pip install ziglang==$zig_version" >&2
    exit 2
fi

case "${1-}" in
    "")      check=false ;;
    --check) check=true ;;
    *)       echo "usage: build.sh [--check]" >&2; exit 2 ;;
esac

output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT
different=0
for program in "${programs[@]}"; do
    folder=$(dirname "$program")
    name=$(basename "$folder")
    module=$(basename "$program")
    # Module names are part of a name section, so the file is built under its own.
    mkdir -p "$output/$folder"
    (cd "$resources/$folder" && "build_$name" "$output/$program")
    if ! $check; then
        install -m 644 "$output/$program" "$resources/$program"
        echo "built $program"
    elif cmp -s "$output/$program" "$resources/$program"; then
        echo "same  $program"
    else
        echo "DIFFERENT $program"
        different=1
    fi
done
exit $different

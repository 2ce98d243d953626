#!/usr/bin/env bash
# tests/install.sh STATIC_LIBS: installs into a folder, then builds the example as README.md says, with pkg-config and with
# CMake, and against the static library; and runs each on the store that the environment names.
set -euo pipefail

static_libs=$1
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
example=$here/examples/backup.c

fail() { printf 'FAIL %s\n' "$*"; exit 1; }
ok() { printf 'ok %s\n' "$*"; }

# The example works if it can list the store: exit code 0, and no versions.
works() {
  local listed
  listed=$("$1" versions install-c nothing) || fail "$2: the example does not run"
  [ -z "$listed" ] || fail "$2: $listed"
  ok "$2"
}

for program in gcc readelf nm pkg-config cmake; do
  command -v $program >/dev/null || fail "$program is missing: run scripts/setup.sh compiler c"
done
make -s -C "$here" install PREFIX="$prefix"
make -s -C "$here" install PREFIX=/opt/elsewhere DESTDIR="$work/staged"
diff <(cd "$prefix" && find . | sort) <(cd "$work/staged/opt/elsewhere" && find . | sort) || fail "DESTDIR changes the tree"
grep -q '^libdir=/opt/elsewhere/lib$' "$work/staged/opt/elsewhere/lib/pkgconfig/s3vault.pc" || fail "DESTDIR is in the .pc file"
! grep -r '@[A-Z_]*@' "$prefix/lib/pkgconfig" "$prefix/lib/cmake" || fail "a template was not filled in"

library=$prefix/lib/libs3vault.so
readelf -d "$library" | grep -q 'SONAME.*\[libs3vault\.so\.0\]' || fail "the soname is not libs3vault.so.0"
readelf -d "$library" | grep -q 'NODELETE' || fail "the library is not linked with -z nodelete"
nm -D --defined-only "$library" | awk '{ print $3 }' | sort >"$work/exported"
grep -o '\bs3v_[a-z0-9_]*(' "$prefix/include/s3vault.h" | tr -d '(' | sort -u >"$work/declared"
diff "$work/declared" "$work/exported" || fail "the header (<) and the library's symbols (>) differ"
ok "the library exports what the header declares"

export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
cflags=$(pkg-config --cflags s3vault)
# The lines that match a pattern, in the code blocks of README.md in a language.
readme() { sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" "$here/README.md" | grep -E "$2"; }

mkdir "$work/user"
cp "$example" "$work/user"
(cd "$work/user" && bash -euc "$(readme sh '^cc ')")
LD_LIBRARY_PATH=$prefix/lib works "$work/user/backup" "pkg-config $(pkg-config --modversion s3vault)"

# shellcheck disable=SC2086
gcc -std=c99 $cflags "$example" "$prefix/lib/libs3vault.a" $static_libs -o "$work/static"
! readelf -d "$work/static" | grep -q libs3vault || fail "the static example needs the shared library"
works "$work/static" "static library"

find_package=$(readme cmake '^find_package')
link=$(readme cmake '^target_link_libraries' | sed 's/ *#.*//')
cat >"$work/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.16)
project(example C)
$find_package
add_executable(backup $example)
$link
add_executable(static_by_cmake $example)
target_link_libraries(static_by_cmake S3Vault::s3vault_static)
END
cmake -S "$work" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" >"$work/cmake.log" || { cat "$work/cmake.log"; fail "cmake"; }
cmake --build "$work/cmake" >"$work/cmake.log" 2>&1 || { cat "$work/cmake.log"; fail "cmake --build"; }
works "$work/cmake/backup" "CMake, shared"
works "$work/cmake/static_by_cmake" "CMake, static"

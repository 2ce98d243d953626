#!/usr/bin/env bash
# tests/examples.sh LIBRARY_FOLDER INCLUDE NEW_KEYRING BACKUP: extracts the code of the header and of README.md, compiles
# it with gcc and clang under AddressSanitizer and UndefinedBehaviorSanitizer, and runs it as it is: first into an error,
# then to success, on the store that the environment names. The same for examples/backup.c.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
library=$(realpath "$1")
include=$(realpath "$2")
new_keyring=$(realpath "$3")
built_backup=$(realpath "$4")
: "${S3VAULT_API_URL:?is not set: start a store, as scripts/with-store.sh does}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The library's own threads and its static data live until the process ends.
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export LD_LIBRARY_PATH=$library

fail() { printf 'FAIL %s\n' "$*"; [ ! -s stderr ] || sed 's/^/  /' stderr; exit 1; }
ok() { printf 'ok %s\n' "$*"; }

# The blocks of README.md in language $1.
readme() { awk -v start="\`\`\`$1" '$0 == start { inside = 1; next } /^```/ { inside = 0 } inside' "$here/README.md"; }

sed -n '/^ \* EXAMPLE/,/^ \*\/$/p' "$include/s3vault.h" | sed -n 's/^ \*     //p; s/^ \*$//p' >"$work/header.c"
readme c >"$work/readme.c"
cp "$here/examples/backup.c" "$work"
grep -q s3v_put_file "$work/header.c" || fail "the header has no example"
grep -q s3v_put_offset "$work/readme.c" || fail "README.md has no C code"

# runs CODE PATTERN COMMAND...: the exit code, and a pattern in what it prints. Never a sanitizer's report.
runs() {
  local code=$1 pattern=$2 rc=0
  shift 2
  "$@" >stdout 2>stderr || rc=$?
  [ $rc = "$code" ] || fail "$compiler: ${*##*/}: exit code $rc instead of $code"
  ! grep -Eq 'Sanitizer|runtime error' stderr || fail "$compiler: ${*##*/}"
  grep -Eq "$pattern" stdout stderr || fail "$compiler: ${*##*/}: no '$pattern' in: $(cat stdout)"
}

for program in gcc clang; do
  command -v $program >/dev/null || fail "$program is missing: run scripts/setup.sh compiler c"
done
head -c 9000000 /dev/urandom >"$work/root.img"
for compiler in gcc clang; do
  for optimize in -O0 -O2; do
    folder=$work/$compiler$optimize
    mkdir "$folder"
    for program in header readme backup; do
      "$compiler" -std=c99 -Wall -Wextra -Werror -pedantic -g "$optimize" -fsanitize=address,undefined \
        -fno-omit-frame-pointer -I"$include" "$work/$program.c" -L"$library" -ls3vault -o "$folder/$program"
    done
    cd "$folder"
    cp ../root.img .
    runs 1 '^S3V_E_CONFIG: cannot read s3vault\.toml: ' ./header
    grep -q '^Check ' stderr || fail "$compiler: header: no hint"
    runs 1 '^S3V_E_KEYRING: cannot read the keyring vault\.keys: ' ./readme
    S3VAULT_KEYRING=vault.keys runs 2 'cannot read the keyring vault\.keys' ./backup versions web-1 disks/root.img
    printf 'region = "us-east-1"\n' >s3vault.toml
    "$new_keyring" vault.keys
    runs 0 '^stored as [0-9A-Za-z]{26}$' ./header
    cmp root.img restored.img || fail "$compiler: header: the restored file differs"
    runs 0 '^stored as [0-9A-Za-z]{26}$' ./readme
    [ ! -e stream.checkpoint ] || fail "$compiler: readme: the checkpoint is still there"
    ok "examples: $compiler $optimize under sanitizers"
  done
done

# The commands of README.md, with a database that is not one.
mkdir "$work/shell" "$work/shell/bin"
cd "$work/shell"
compiler=shell
ln -s "$built_backup" bin/backup
printf '#!/bin/sh\necho "the tables of $1"\n' >bin/pg_dump
printf '#!/bin/sh\ncat >"$1.restored"\n' >bin/psql
chmod +x bin/pg_dump bin/psql
cp ../root.img .
"$new_keyring" vault.keys
{ echo 'set -euo pipefail'; readme sh | grep -Ev '^(cargo|make|cc|scripts/)'; } >commands
grep -q -- '--checkpoint' commands || fail "README.md has no command with a checkpoint"
PATH=$work/shell/bin:$PATH runs 0 '^vid=[0-9A-Za-z]{26} hash=[0-9a-f]{64} bytes=9000000$' bash commands
cmp root.img restored.img || fail "the commands of README.md: the restored file differs"
[ "$(cat shop.restored)" = "the tables of shop" ] || fail "the commands of README.md: the restored stream differs"
ok "the commands of README.md"

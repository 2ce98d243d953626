#!/usr/bin/env bash
# scripts/library_size.sh: builds the library with the dist profile, and fails if the stripped shared library is too large:
# 10.5 MB as it is shipped, 9.5 MB without the transport on reqwest.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

cd "$ROOT"
library=$TARGET/dist/libs3vault.so

# check LIMIT NAME
check() {
  local size
  size=$(stat -c %s "$library")
  echo "$2: $size bytes, $1 allowed"
  [ "$size" -le "$1" ] || die "$2 is too large: find out why, for example with cargo-bloat; [profile.dist] in Cargo.toml may help"
}

# Panic messages name a crate's source without the folder of the machine that built it.
for sources in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
  RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$sources="
done
export RUSTFLAGS

# shared OPTION...: builds the shared library; lld, which rustc uses here, folds identical functions.
shared() { cargo rustc -q --profile dist -p s3vault --crate-type cdylib "$@" -- -C link-arg=-Wl,--icf=all; }

shared --no-default-features
check 9500000 "library without reqwest"
# The last one stays: it is shipped.
shared
check 10500000 "library"
cargo rustc -q --profile dist -p s3vault --crate-type staticlib

#!/usr/bin/env bash
# scripts/bench.sh [ARGUMENT]...: builds the clients of tests/bench and runs bench.py with these arguments.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

target=${CARGO_TARGET_DIR:-$ROOT/target}/bench
programs=$target/programs

# build PACKAGE OPTION...: one by one, so that the features of a peer do not reach s3vault's dependencies.
build() { cargo build -q --locked --manifest-path "$ROOT/tests/bench/Cargo.toml" --target-dir "$target" -p "$@"; }

# s3vault as it is shipped, with [profile.dist] of the project; the peers with cargo's own settings of a release.
build bench-clients --config "$ROOT/Cargo.toml" --profile dist
build bench-sink --release
build bench-object-store --release
install -D -t "$programs" "$target"/dist/{bare-sockets,bare-transport,s3vault} \
  "$target"/release/{sink,measure,bench-object-store}
(cd "$ROOT/tests/bench/go" && go build -trimpath -o "$programs/minio-go" .)
exec "$BENCH_VENV/bin/python" "$ROOT/tests/bench/bench.py" --programs "$programs" --rclone "$RCLONE" \
  --results "$BUILD/bench" "$@"

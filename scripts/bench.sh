#!/usr/bin/env bash
# scripts/bench.sh [ARGUMENT]...: builds the clients of tests/bench and runs bench.py with these arguments.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

target=${CARGO_TARGET_DIR:-$ROOT/target}/bench
# Built one by one, so that the features of a peer do not reach s3vault's dependencies.
for package in bench-sink bench-clients bench-object-store; do
  cargo build -q --release --locked --manifest-path "$ROOT/tests/bench/Cargo.toml" --target-dir "$target" -p "$package"
done
(cd "$ROOT/tests/bench/go" && go build -trimpath -o "$target/release/minio-go" .)
exec "$BENCH_VENV/bin/python" "$ROOT/tests/bench/bench.py" --programs "$target/release" --rclone "$RCLONE" \
  --results "$BUILD/bench" "$@"

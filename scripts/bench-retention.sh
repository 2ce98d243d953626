#!/usr/bin/env bash
# scripts/bench-retention.sh [ARGUMENT]...: builds what tests/bench/retention.py needs, and runs it with these arguments on
# the embedded store.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

target=${CARGO_TARGET_DIR:-$ROOT/target}/bench

# s3vault as it is shipped, as in bench.sh; the store and the library that fills it as in the tests.
cargo build -q --release -p s3vault -p embedded-store
cargo build -q --locked --manifest-path "$ROOT/tests/bench/Cargo.toml" --target-dir "$target" -p bench-clients \
  --bin retention --config "$ROOT/Cargo.toml" --profile dist
cargo build -q --locked --manifest-path "$ROOT/tests/bench/Cargo.toml" --target-dir "$target" -p bench-sink --bin measure \
  --release
export S3VAULT_LIBRARY=$RELEASE/libs3vault.so PYTHONPATH=$ROOT/bindings/python/src
exec "$ROOT/scripts/with-store.sh" embedded -- "$VENV/bin/python" "$ROOT/tests/bench/retention.py" \
  --measure "$target/release/measure" --s3vault "$target/dist/retention" --rclone "$RCLONE" \
  --restic "$RESTIC" --kopia "$KOPIA" --results "$BUILD/bench" "$@"

#!/usr/bin/env bash
# scripts/bench-encryption.sh [ARGUMENT]...: builds what tests/bench/encryption.py needs, and runs it with these arguments on
# MinIO.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

target=${CARGO_TARGET_DIR:-$ROOT/target}/bench
programs=$target/programs
manifest=$ROOT/tests/bench/Cargo.toml

# s3vault as it is shipped, as in bench.sh.
cargo build -q --locked --manifest-path "$manifest" --target-dir "$target" -p bench-clients --bin s3vault \
  --config "$ROOT/Cargo.toml" --profile dist
cargo build -q --locked --manifest-path "$manifest" --target-dir "$target" -p bench-sink --bin measure --release
install -D -t "$programs" "$target/dist/s3vault" "$target/release/measure"
(cd "$ROOT/tests/bench/go" && go build -trimpath -o "$programs/minio-go" .)
exec "$ROOT/scripts/with-store.sh" minio -- "$VENV/bin/python" "$ROOT/tests/bench/encryption.py" --programs "$programs" \
  --measure "$programs/measure" --rclone "$RCLONE" --restic "$RESTIC" --kopia "$KOPIA" --results "$BUILD/bench" "$@"

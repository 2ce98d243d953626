# Sourced by the scripts: paths, versions, and functions that print messages.
# shellcheck shell=bash disable=SC2034

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/build
VENV=$BUILD/venv
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
RELEASE=${RELEASE:-$TARGET/release}
# Tools that are built once per machine, not once per clone.
TOOLS_DIR=${TOOLS_DIR:-$HOME/.cache/s3vault/bin}
MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
MINIO=$TOOLS_DIR/minio-$MINIO_VERSION/minio
VERSITYGW_VERSION=v1.7.0
VERSITYGW=$TOOLS_DIR/versitygw-$VERSITYGW_VERSION/versitygw
GARAGE_VERSION=2.5.0
GARAGE=$TOOLS_DIR/garage-$GARAGE_VERSION/bin/garage
RCLONE_VERSION=v1.76.0
RCLONE=$TOOLS_DIR/rclone-$RCLONE_VERSION/rclone
RESTIC_VERSION=v0.18.1
RESTIC=$TOOLS_DIR/restic-$RESTIC_VERSION/restic
KOPIA_VERSION=v0.21.1
KOPIA=$TOOLS_DIR/kopia-$KOPIA_VERSION/kopia
CARGO_DENY_VERSION=0.20.2
CARGO_DENY=$TOOLS_DIR/cargo-deny-$CARGO_DENY_VERSION/bin/cargo-deny
CARGO_CYCLONEDX_VERSION=0.5.9
CARGO_CYCLONEDX=$TOOLS_DIR/cargo-cyclonedx-$CARGO_CYCLONEDX_VERSION/bin/cargo-cyclonedx
RAGE_VERSION=0.12.1
RAGE=$TOOLS_DIR/rage-$RAGE_VERSION/bin/rage
BENCH_VENV=$BUILD/bench/venv

# mke2fs and debugfs are in sbin, which not every user has on PATH.
PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }
die() { say "$(basename "$0"): $*"; exit 1; }

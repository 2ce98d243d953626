#!/usr/bin/env bash
# scripts/with-store.sh embedded|minio|versitygw|garage|ceph[:MODE] -- COMMAND...: starts the store, creates a new bucket
# (with versioning if the store has it), runs COMMAND with S3VAULT_* in its environment, and stops the store. The exit
# code is COMMAND's. S3VAULT_TEST_STORE tells COMMAND which of these stores it is.
# MODE is how the vault keeps its versions: native (default), emulated (in a bucket without versioning), per-vm or
# per-vm-emulated (in a bucket for each container).
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

usage="usage: with-store.sh embedded|minio|versitygw|garage|ceph[:MODE] -- COMMAND..."
if [ $# -lt 3 ] || [ "$2" != -- ]; then die "$usage"; fi
kind=${1%%:*} mode=${1#"${1%%:*}"}
mode=${mode#:}
shift 2
case $kind in embedded | minio | versitygw | garage | ceph) ;; *) die "unknown store '$kind'" ;; esac
bucket_kind=()
case ${mode:-native} in
  native) ;;
  emulated)
    export S3VAULT_MODE=single-bucket-no-versioning
    bucket_kind=(unversioned)
    ;;
  per-vm) export S3VAULT_MODE=bucket-per-vm S3VAULT_BUCKET_PREFIX=vm$$- ;;
  per-vm-emulated) export S3VAULT_MODE=bucket-per-vm S3VAULT_PER_VM_VERSIONING=emulated S3VAULT_BUCKET_PREFIX=vm$$- ;;
  *) die "unknown mode '$mode'" ;;
esac

# In the clone's build folder: /tmp may be small or in memory.
mkdir -p "$BUILD"
dir=$(mktemp -d "$BUILD/store-$kind.XXXXXX")
finish() {
  local rc=$?
  "$ROOT/scripts/stores/$kind.sh" stop "$dir"
  if [ $rc != 0 ] && [ -s "$dir/log" ]; then
    say "--- the last lines of the $kind store's log:"
    tail -n 15 "$dir/log" >&2
  fi
  rm -rf "$dir"
  exit $rc
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

STORE_OWNER=$$ STORE_BUCKET=t-$(date +%s)-$$
export STORE_OWNER STORE_BUCKET
EMBEDDED_BUCKET=${EMBEDDED_BUCKET:-${bucket_kind[*]}} "$ROOT/scripts/stores/$kind.sh" start "$dir" >"$dir/env"
# shellcheck disable=SC1091
. "$dir/env"
# No store is away for long here: a test that needs minutes to fail is no use.
export S3VAULT_BUCKET=$STORE_BUCKET S3VAULT_TEST_STORE=$kind S3VAULT_RETRY_TIME=20
[ "$kind" = embedded ] || "$VENV/bin/python" "$ROOT/scripts/stores/bucket.py" "$S3VAULT_BUCKET" "${bucket_kind[@]}"
unset STORE_OWNER STORE_BUCKET

"$@"

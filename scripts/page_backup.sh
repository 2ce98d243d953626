#!/usr/bin/env bash
# scripts/page_backup.sh MIB COMMAND...: stores this many MiB with the `s3vault` command in the store that the environment names,
# downloads it with boto3 by its plain key, and runs COMMAND. S3VAULT_TEST_MANIFEST, S3VAULT_TEST_DATA and
# S3VAULT_TEST_KEY name the three files that a verifier needs. S3VAULT_TEST_ENVELOPE names a folder with those of an
# encrypted backup, its escrow files (page_envelope.py) and the passphrase of all of them.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

[ $# -gt 1 ] || die "usage: page_backup.sh MIB COMMAND..."
mib=$1
shift
dir=$(mktemp -d "$BUILD/page-backup.XXXXXX")
trap 'rm -rf "$dir"' EXIT
s3vault=$VENV/bin/s3vault

"$s3vault" keys new "$dir/keyring" >/dev/null
export S3VAULT_KEYRING=$dir/keyring
head -c "${mib}M" /dev/urandom >"$dir/disk.img"
"$s3vault" put "page vm" disks/sda.img "$dir/disk.img" >/dev/null
"$s3vault" manifest "page vm" disks/sda.img "$dir/manifest"
"$s3vault" keys public >"$dir/public-key"
(cd "$ROOT/scripts/stores" && "$VENV/bin/python" -c 'import os, sys, boto3_client
boto3_client.client().download_file(os.environ["S3VAULT_BUCKET"], "page vm/disks/sda.img", sys.argv[1])' "$dir/data")
cmp "$dir/disk.img" "$dir/data"
rm "$dir/disk.img"

"$VENV/bin/python" "$ROOT/scripts/page_envelope.py" "$dir/envelope"
export S3VAULT_TEST_ENVELOPE=$dir/envelope

export S3VAULT_TEST_MANIFEST=$dir/manifest S3VAULT_TEST_DATA=$dir/data S3VAULT_TEST_KEY=$dir/public-key
"$@"

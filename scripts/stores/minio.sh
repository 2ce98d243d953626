#!/usr/bin/env bash
# scripts/stores/minio.sh start DIR: starts MinIO over TLS on a free loopback port, under its own CA. DIR holds data, log
#                                    and pid. Prints the environment that s3vault needs:
#                                    eval "$(scripts/stores/minio.sh start DIR)"
# scripts/stores/minio.sh stop DIR
# The server also stops when the process that started it (or STORE_OWNER, a pid) exits, and after 90 minutes.
set -euo pipefail
# shellcheck source=scripts/stores/server.sh
. "$(dirname "$0")/server.sh"

prepare() {
  [ -x "$MINIO" ] || die "MinIO is not installed: run scripts/setup.sh minio"
  mkdir -p "$dir/data"
  make_certificates
  kms_key=$(openssl rand -base64 32)
}

# Without a region MinIO accepts signatures for any region; without a KMS it has no bucket encryption. Deleted objects leave
# the disk after 10 seconds instead of five minutes.
serve() {
  export MINIO_SITE_REGION=us-east-1 MINIO_KMS_SECRET_KEY=s3vault-test:$kms_key
  export MINIO_ROOT_USER=$access_key MINIO_ROOT_PASSWORD=$secret MINIO_CI_CD=1 MINIO_UPDATE=off MINIO_BROWSER=off
  export MINIO_API_DELETE_CLEANUP_INTERVAL=10s
  launch "$MINIO" server --quiet --certs-dir "$dir/certs" --address "127.0.0.1:$port" "$dir/data"
}

answers() { ask -f "$url/minio/health/ready"; }

server_main "$@"

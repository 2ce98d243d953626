#!/usr/bin/env bash
# scripts/stores/embedded.sh start DIR: starts the in-memory store of tests/store on a free loopback port. DIR
#                                       holds log and pid. Prints the environment that s3vault needs, with a
#                                       versioned bucket: eval "$(scripts/stores/embedded.sh start DIR)"
#                                       EMBEDDED_SCHEME=https serves over TLS, under its own CA.
#                                       EMBEDDED_BUCKET=unversioned, suspended or locked makes another kind of bucket.
# scripts/stores/embedded.sh stop DIR
# The server also stops when the process that started it (or STORE_OWNER, a pid) exits, and after 90 minutes.
set -euo pipefail
# shellcheck source=scripts/stores/server.sh
. "$(dirname "$0")/server.sh"

scheme=${EMBEDDED_SCHEME:-http}
bucket=${STORE_BUCKET:-backups}
environment=("S3VAULT_BUCKET=$bucket")
tls=()

prepare() {
  [ -x "$RELEASE/embedded-store" ] || die "the embedded store is not built: run make build"
  if [ "$scheme" = https ]; then
    make_certificates
    tls=(--tls-cert "$dir/certs/public.crt" --tls-key "$dir/certs/private.key")
  fi
}

serve() {
  launch "$RELEASE/embedded-store" --port "$port" --bucket "$bucket${EMBEDDED_BUCKET:+:$EMBEDDED_BUCKET}" \
    --access-key "$access_key" --secret-key "$secret" --idle-exit 5400 "${tls[@]}"
}

# Unlike a request, this needs no curl.
answers() { grep -q '^listening on' "$dir/log"; }

server_main "$@"

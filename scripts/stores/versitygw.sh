#!/usr/bin/env bash
# scripts/stores/versitygw.sh start DIR: starts Versity's S3 gateway for a folder, over TLS on a free loopback port,
#                                        under its own CA. DIR holds data, log and pid. versitygw has no versioning; it
#                                        accepts SSE-C headers and stores the data unencrypted. Prints the environment
#                                        that s3vault needs: eval "$(scripts/stores/versitygw.sh start DIR)"
# scripts/stores/versitygw.sh stop DIR
# The server also stops when the process that started it (or STORE_OWNER, a pid) exits, and after 90 minutes.
set -euo pipefail
# shellcheck source=scripts/stores/server.sh
. "$(dirname "$0")/server.sh"

prepare() {
  [ -x "$VERSITYGW" ] || die "versitygw is not installed: run scripts/setup.sh versitygw"
  mkdir -p "$dir/data"
  make_certificates
}

serve() {
  export ROOT_ACCESS_KEY=$access_key ROOT_SECRET_KEY=$secret
  launch "$VERSITYGW" --port "127.0.0.1:$port" --cert "$dir/certs/public.crt" --key "$dir/certs/private.key" \
    posix "$dir/data"
}

answers() { ask "$url/"; }

server_main "$@"

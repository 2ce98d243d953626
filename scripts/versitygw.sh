#!/usr/bin/env bash
# scripts/versitygw.sh start DIR: Versity's S3 gateway over a folder, over TLS on a free loopback port, with a CA of its
#                                 own; data, log and pid in DIR. A store without versioning, which accepts SSE-C
#                                 headers and stores in the clear.
#                                 Prints the environment that s3vault needs: eval "$(scripts/versitygw.sh start DIR)"
# scripts/versitygw.sh stop DIR
# It also stops when the process that started it (or STORE_OWNER, a pid) is gone, and after 90 minutes.
set -euo pipefail
# shellcheck source=scripts/server.sh
. "$(dirname "$0")/server.sh"

prepare() {
  [ -x "$VERSITYGW" ] || die "versitygw is not there: run scripts/setup.sh versitygw"
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

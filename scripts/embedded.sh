#!/usr/bin/env bash
# scripts/embedded.sh start DIR: the in-memory store of tests/store on a free loopback port; log and pid in DIR.
#                                Prints the environment that s3vault needs, with a versioned bucket:
#                                eval "$(scripts/embedded.sh start DIR)"
# scripts/embedded.sh stop DIR
# It also stops when the process that started it (or STORE_OWNER, a pid) is gone, and after 90 minutes.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

[ $# = 2 ] || die "usage: embedded.sh start|stop DIR"
dir=$(realpath -m "$2")
store=$RELEASE/embedded-store
owner=${STORE_OWNER:-$PPID}
bucket=${STORE_BUCKET:-backups}

# The store ends with its standard input, which the watch on the owner holds open.
launch() {
  # shellcheck disable=SC2016
  setsid bash -c '
    timeout --foreground 5400 tail --pid="$5" -f /dev/null |
      "$1" --port 0 --bucket "$2" --access-key "$3" --secret-key "$4" \
        --exit-with-stdin --idle-exit 5400' \
    watch "$store" "$bucket" s3vault-test "$secret" "$owner" </dev/null >"$dir/log" 2>&1 &
  echo $! >"$dir/pid"
}

url() { sed -n 's/^listening on \(http[^ ]*\).*/\1/p' "$dir/log" | head -n 1; }

stop() {
  [ -e "$dir/pid" ] || return 0
  kill -- "-$(cat "$dir/pid")" 2>/dev/null || true
  rm "$dir/pid"
}

start() {
  [ -x "$store" ] || die "the embedded store is not built: run make build"
  [ ! -e "$dir/pid" ] || die "$dir is in use: stop it first"
  mkdir -p "$dir"
  secret=$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')
  launch
  for _ in $(seq 100); do
    [ -z "$(url)" ] || break
    sleep 0.05
  done
  [ -n "$(url)" ] || { cat "$dir/log" >&2; stop; die "the embedded store did not come up"; }
  printf 'export %s\n' "S3VAULT_API_URL=$(url)" "S3VAULT_ACCESS_KEY=s3vault-test" "S3VAULT_SECRET_KEY=$secret" \
    "S3VAULT_REGION=us-east-1" "S3VAULT_PATH_STYLE=true" "S3VAULT_BUCKET=$bucket"
}

case $1 in
  start) start ;;
  stop) stop ;;
  *) die "usage: embedded.sh start|stop DIR" ;;
esac

#!/usr/bin/env bash
# scripts/minio.sh start DIR: MinIO over TLS on a free loopback port, with a CA of its own; data, log and pid in DIR.
#                             Prints the environment that s3vault needs: eval "$(scripts/minio.sh start DIR)"
# scripts/minio.sh stop DIR
# It also stops when the process that started it (or STORE_OWNER, a pid) is gone, and after 90 minutes.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

[ $# = 2 ] || die "usage: minio.sh start|stop DIR"
dir=$(realpath -m "$2")
certs=$dir/certs
owner=${STORE_OWNER:-$PPID}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# A CA and a server certificate under it: rustls refuses a CA's own certificate as a server's.
make_certificates() {
  local new=(openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
  "${new[@]}" -x509 -days 2 -subj "/CN=s3vault test CA" -keyout "$dir/ca.key" -out "$dir/ca.crt"
  "${new[@]}" -subj /CN=localhost -keyout "$certs/private.key" -out "$dir/server.csr"
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >"$dir/server.ext"
  openssl x509 -req -days 2 -in "$dir/server.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial \
    -extfile "$dir/server.ext" -out "$certs/public.crt"
}

# One process group for the server and its watch, so that stop ends both.
launch() {
  # shellcheck disable=SC2016
  MINIO_ROOT_USER=s3vault-test MINIO_ROOT_PASSWORD=$secret MINIO_CI_CD=1 MINIO_UPDATE=off MINIO_BROWSER=off \
    setsid bash -c '
      "$1" server --quiet --certs-dir "$2" --address "127.0.0.1:$3" "$4" &
      timeout --foreground 5400 tail --pid="$5" -f /dev/null
      kill %1' watch "$MINIO" "$certs" "$port" "$dir/data" "$owner" </dev/null >"$dir/log" 2>&1 &
  echo $! >"$dir/pid"
}

ready() {
  for _ in $(seq 100); do
    ! curl -sf --noproxy '*' --cacert "$dir/ca.crt" "https://127.0.0.1:$port/minio/health/ready" -o /dev/null || return 0
    sleep 0.1
  done
  return 1
}

stop() {
  [ -e "$dir/pid" ] || return 0
  kill -- "-$(cat "$dir/pid")" 2>/dev/null || true
  rm "$dir/pid"
}

start() {
  [ -x "$MINIO" ] || die "MinIO is not there: run scripts/setup.sh minio"
  [ ! -e "$dir/pid" ] || die "$dir is in use: stop it first"
  mkdir -p "$certs" "$dir/data"
  make_certificates >"$dir/openssl.log" 2>&1 || { cat "$dir/openssl.log" >&2; die "openssl made no certificate"; }
  secret=$(openssl rand -hex 20)
  # Somebody else may take the free port before MinIO does.
  for _ in 1 2 3; do
    port=$(free_port)
    launch
    if ready; then
      printf 'export %s\n' "S3VAULT_API_URL=https://127.0.0.1:$port" "S3VAULT_ACCESS_KEY=s3vault-test" \
        "S3VAULT_SECRET_KEY=$secret" "S3VAULT_CA_FILE=$dir/ca.crt" "S3VAULT_REGION=us-east-1" "S3VAULT_PATH_STYLE=true"
      return
    fi
    stop
  done
  tail -n 20 "$dir/log" >&2
  die "MinIO did not come up; its log is $dir/log"
}

case $1 in
  start) start ;;
  stop) stop ;;
  *) die "usage: minio.sh start|stop DIR" ;;
esac

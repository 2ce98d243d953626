# Sourced by the scripts that start a server for tests (minio.sh, versitygw.sh, ...).
# Each script defines three functions and ends with `server_main "$@"`:
#
#   prepare   checks that the server is installed, and creates what does not depend on the port
#   serve     calls `launch COMMAND...`, which runs the server in the foreground on 127.0.0.1:$port, with its data in
#             $dir and the keys $access_key and $secret
#   answers   succeeds when the server answers requests at $url
#
# A script may set `scheme` (default: https) and add variables to `environment`.
# The server stops when the process that started the script (or STORE_OWNER, a pid) exits, and after 90 minutes.
# shellcheck shell=bash disable=SC2034
# shellcheck source=scripts/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/../paths.sh"

owner=${STORE_OWNER:-$PPID}
access_key=s3vault-test
scheme=https
environment=()

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Makes a CA ($dir/ca.crt) and a server certificate under it, in $dir/certs with the names that MinIO expects. Rustls
# does not accept a CA certificate as a server certificate.
make_certificates() {
  local certs=$dir/certs new=(openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
  mkdir -p "$certs"
  {
    "${new[@]}" -x509 -days 2 -subj "/CN=s3vault test CA" -keyout "$dir/ca.key" -out "$dir/ca.crt" &&
      "${new[@]}" -subj /CN=localhost -keyout "$certs/private.key" -out "$dir/server.csr" &&
      printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >"$dir/server.ext" &&
      openssl x509 -req -days 2 -in "$dir/server.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial \
        -extfile "$dir/server.ext" -out "$certs/public.crt"
  } >"$dir/openssl.log" 2>&1 || { cat "$dir/openssl.log" >&2; die "openssl failed to make the certificates"; }
}

# Sends a request to the server with curl. Any status is a success unless the caller adds -f.
ask() { curl -s --noproxy '*' --max-time 5 --cacert "$dir/ca.crt" -o /dev/null "$@"; }

# Every process of the server holds $dir/lock, so if the lock is free, no process is left.
running() { [ -e "$dir/lock" ] && ! flock -n "$dir/lock" true; }

# launch COMMAND...: runs the server in its own process group, supervised by watch.sh.
launch() {
  {
    flock -n 9 || die "a server already runs in $dir: stop it first"
    setsid "$ROOT/scripts/stores/watch.sh" "$owner" "$@" </dev/null >"$dir/log" 2>&1 &
    echo $! >"$dir/pid"
    # Without this, bash reports here how the server exited.
    disown
  } 9>"$dir/lock"
}

ready() {
  for _ in $(seq 1200); do
    # The server must still run: another program may be answering on the port.
    if answers && running; then return 0; fi
    running || return 1
    sleep 0.1
  done
  return 1
}

print_environment() {
  environment+=("S3VAULT_API_URL=$url" "S3VAULT_ACCESS_KEY=$access_key" "S3VAULT_SECRET_KEY=$secret"
    S3VAULT_REGION=us-east-1 S3VAULT_PATH_STYLE=true)
  [ "$scheme" = http ] || environment+=("S3VAULT_CA_FILE=$dir/ca.crt")
  printf 'export %s\n' "${environment[@]}"
}

stop() {
  running || return 0
  kill -KILL -- "-$(cat "$dir/pid")" 2>/dev/null || true
  flock -w 20 "$dir/lock" true || die "the server in $dir does not stop; its process group is $(cat "$dir/pid")"
}

start() {
  mkdir -p "$dir"
  ! running || die "a server already runs in $dir: stop it first"
  secret=$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')
  prepare
  # Another program may take the free port before the server does.
  for _ in 1 2 3; do
    port=$(free_port)
    url=$scheme://127.0.0.1:$port
    serve
    if ready; then
      print_environment
      return
    fi
    stop
  done
  tail -n 20 "$dir/log" >&2
  die "the server did not start; see its log, $dir/log"
}

server_main() {
  [ $# = 2 ] || die "usage: $(basename "$0") start|stop DIR"
  dir=$(realpath -m "$2")
  case $1 in
    start) start ;;
    stop) stop ;;
    *) die "usage: $(basename "$0") start|stop DIR" ;;
  esac
}

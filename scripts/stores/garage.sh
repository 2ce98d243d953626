#!/usr/bin/env bash
# scripts/stores/garage.sh start DIR: starts a single Garage node over plain HTTP (it has no TLS) on a free loopback
#                                     port. DIR holds data, log and pid. Garage has no versioning; it has SSE-C and
#                                     checks signatures strictly. Prints the environment that s3vault needs:
#                                     eval "$(scripts/stores/garage.sh start DIR)"
# scripts/stores/garage.sh stop DIR
# The server also stops when the process that started it (or STORE_OWNER, a pid) exits, and after 90 minutes.
set -euo pipefail
# shellcheck source=scripts/stores/server.sh
. "$(dirname "$0")/server.sh"

scheme=http

prepare() {
  [ -x "$GARAGE" ] || die "Garage is not installed: run scripts/setup.sh garage"
  # Garage accepts only keys of its own form: GK and 24 hexadecimal digits; 64 digits for the secret.
  access_key=GK$(openssl rand -hex 12)
  secret=$(openssl rand -hex 32)
  rpc_secret=$(openssl rand -hex 32)
}

serve() {
  # A node stores its address, so a node that did not come up cannot be started again on another port.
  rm -rf "$dir/meta" "$dir/data"
  rpc_port=$(free_port)
  cat >"$dir/garage.toml" <<EOF
metadata_dir = "$dir/meta"
data_dir = "$dir/data"
db_engine = "sqlite"
replication_factor = 1
metadata_fsync = false
data_fsync = false
disable_scrub = true
compression_level = "none"
rpc_bind_addr = "127.0.0.1:$rpc_port"
rpc_public_addr = "127.0.0.1:$rpc_port"
rpc_secret = "$rpc_secret"
[s3_api]
api_bind_addr = "127.0.0.1:$port"
s3_region = "us-east-1"
EOF
  export GARAGE_DEFAULT_ACCESS_KEY=$access_key GARAGE_DEFAULT_SECRET_KEY=$secret GARAGE_DEFAULT_BUCKET=default
  launch "$GARAGE" -c "$dir/garage.toml" server --single-node --default-bucket
}

# The node starts with the key; the right to create buckets has to be granted.
answers() {
  ask "$url/" &&
    "$GARAGE" -c "$dir/garage.toml" key allow --create-bucket "$access_key" >"$dir/key.log" 2>&1
}

server_main "$@"

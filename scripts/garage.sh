#!/usr/bin/env bash
# scripts/garage.sh start DIR: Garage, a single node, over plain HTTP (it has no TLS) on a free loopback port; data, log
#                              and pid in DIR. A store without versioning, with SSE-C and strict signatures.
#                              Prints the environment that s3vault needs: eval "$(scripts/garage.sh start DIR)"
# scripts/garage.sh stop DIR
# It also stops when the process that started it (or STORE_OWNER, a pid) is gone, and after 90 minutes.
set -euo pipefail
# shellcheck source=scripts/server.sh
. "$(dirname "$0")/server.sh"

scheme=http

prepare() {
  [ -x "$GARAGE" ] || die "Garage is not there: run scripts/setup.sh garage"
  # Garage wants keys of its own form: GK and 24 hexadecimal digits, 64 of them for the secret.
  access_key=GK$(openssl rand -hex 12)
  secret=$(openssl rand -hex 32)
  rpc_secret=$(openssl rand -hex 32)
}

serve() {
  # A node keeps its address: one that did not come up is not tried again.
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

# The key comes with the node; that it may create buckets must be said.
answers() {
  ask "$url/" &&
    "$GARAGE" -c "$dir/garage.toml" key allow --create-bucket "$access_key" >"$dir/key.log" 2>&1
}

server_main "$@"

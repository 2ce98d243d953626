#!/usr/bin/env bash
# scripts/stores/ceph.sh start DIR: starts Ceph (a monitor, one OSD and a RADOS gateway) over TLS on a free loopback
#                                   port, under its own CA. DIR holds data, log and pid. Prints the environment that
#                                   s3vault needs: eval "$(scripts/stores/ceph.sh start DIR)"
# scripts/stores/ceph.sh stop DIR
# The server also stops when the process that started it (or STORE_OWNER, a pid) exits, and after 90 minutes.
# https://docs.ceph.com/en/pacific/install/manual-deployment/
set -euo pipefail
# shellcheck source=scripts/stores/server.sh
. "$(dirname "$0")/server.sh"

# Over TLS, Ceph refuses the chunked body with a trailer that botocore sends by default (MissingContentLength).
environment=(AWS_REQUEST_CHECKSUM_CALCULATION=when_required)

prepare() {
  local program
  for program in ceph ceph-mon ceph-osd ceph-authtool monmaptool radosgw radosgw-admin; do
    command -v "$program" >/dev/null || die "$program is not installed: run scripts/setup.sh ceph"
  done
  make_certificates
}

# One replica without warnings. The limits on free space are raised, because the disk is the developer's.
configure() {
  local mon_port
  mon_port=$(free_port)
  fsid=$(cat /proc/sys/kernel/random/uuid)
  mon_address=v1:127.0.0.1:$mon_port
  cat >"$dir/ceph.conf" <<EOF
[global]
fsid = $fsid
mon initial members = a
mon host = $mon_address
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = $dir/keyring
admin socket =
crash dir = $dir/crash
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd crush update on start = false
osd class update on start = false
mon max pg per osd = 1000
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 1
mon data avail crit = 1
mon osd full ratio = .99
mon osd nearfull ratio = .98
mon osd backfillfull ratio = .98
[mon]
paxos propose interval = 0.05
paxos min wait = 0.01
mon osd min up ratio = 0
mon data = $dir/mon
[osd]
osd data = $dir/osd
osd objectstore = bluestore
osd memory target = 939524096
bluestore block create = true
bluestore block size = 42949672960
bluestore fsck on mount = false
[client.rgw]
rgw data = $dir/rgw
rgw frontends = beast ssl_endpoint=127.0.0.1:$port ssl_certificate=$dir/certs/public.crt ssl_private_key=$dir/certs/private.key
rgw thread pool size = 64
EOF
}

keys() {
  local add=(ceph-authtool "$dir/keyring" --gen-key)
  "${add[@]}" --create-keyring -n mon. --cap mon 'allow *'
  "${add[@]}" -n client.admin --cap mon 'allow *' --cap osd 'allow *'
  "${add[@]}" -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
  "${add[@]}" -n client.rgw --cap mon 'allow *' --cap osd 'allow *'
}

# While the cluster forms, commands sometimes fail or hang; each of them is safe to repeat.
retry() {
  for _ in 1 2 3 4 5 6 7 8; do
    ! timeout 60 "$@" || return 0
    sleep 0.3
  done
  say "failed: $*"
  return 1
}

# Starts the daemons in the foreground, each when the one before it is ready. Returns when the first of them exits.
cluster() {
  local conf=(-c "$dir/ceph.conf") osd_uuid
  osd_uuid=$(cat /proc/sys/kernel/random/uuid)
  monmaptool --create --clobber --fsid "$fsid" --addv a "[$mon_address]" "$dir/monmap"
  ceph-mon "${conf[@]}" -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/keyring"
  ceph-mon "${conf[@]}" -i a -d &
  retry ceph "${conf[@]}" osd new "$osd_uuid"
  retry ceph "${conf[@]}" osd crush add osd.0 1.0 root=default host=localhost
  ceph-osd "${conf[@]}" -i 0 --mkfs --osd-uuid "$osd_uuid"
  ceph-osd "${conf[@]}" -i 0 -d &
  until timeout 10 ceph "${conf[@]}" osd stat | grep -q '1 up'; do sleep 0.3; done
  retry radosgw-admin "${conf[@]}" -n client.rgw user create --uid=test --display-name=test \
    --access-key="$access_key" --secret-key="$secret" >/dev/null
  radosgw "${conf[@]}" -n client.rgw -d &
  wait -n
}

serve() {
  rm -rf "$dir"/{mon,osd,rgw,crash,keyring}
  mkdir -p "$dir"/{mon,osd,rgw,crash}
  configure
  keys >"$dir/keys.log"
  export dir fsid mon_address access_key secret
  export -f cluster retry say
  launch bash -c 'set -euo pipefail; cluster'
}

answers() { ask "$url/"; }

server_main "$@"

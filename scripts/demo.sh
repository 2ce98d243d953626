#!/usr/bin/env bash
# scripts/demo.sh: backs up a real disk image. The `s3vault` command stores it from a file, the image changes, and the
# command stores it again from a pipe; the C program restores both versions, and the script compares them. `make demo`
# calls it. It uses the embedded store, or the store that S3VAULT_API_URL, S3VAULT_BUCKET (with versioning),
# S3VAULT_ACCESS_KEY, S3VAULT_SECRET_KEY, S3VAULT_REGION ... name.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

demo=$BUILD/demo
image=$demo/disk.img
container=demo-$(date +%Y%m%d-%H%M%S)
path=disks/system.img
s3vault=$VENV/bin/s3vault
c_program=$demo/c/backup
needed_mib=2000
# embedded.sh starts the store from there.
export RELEASE=$TARGET/demo

rows=()
requests() {
  [ -n "${embedded:-}" ] || { echo 0; return; }
  python3 -c 'import json, os, urllib.request as u
o = u.build_opener(u.ProxyHandler({}))
print(sum(json.load(o.open(os.environ["S3VAULT_API_URL"] + "/_embedded/stats"))["requests"].values()))'
}

# measure STEP FILE COMMAND...: runs COMMAND, and records the size of FILE, the seconds and the requests.
measure() {
  local step=$1 file=$2 before after start size=- count=-
  shift 2
  say "  $step"
  before=$(requests)
  start=$(date +%s%N)
  "$@"
  local ms=$((($(date +%s%N) - start) / 1000000))
  after=$(requests)
  [ "$file" = - ] || size="$(($(stat -c %s "$file") / 1048576)) MiB"
  [ -z "${embedded:-}" ] || count=$((after - before))
  rows+=("$(printf '%-44s %10s %6d.%02d %9s' "$step" "$size" $((ms / 1000)) $((ms % 1000 / 10)) "$count")")
}

# shellcheck disable=SC2002  # the pipe is intended
store_from_pipe() { cat "$image" | "$s3vault" put "$container" "$path" - >/dev/null; }
list_versions() { "$s3vault" versions "$container" "$path" | tee "$demo/versions" >&2; }
same() { [ "$(sha256sum <"$1")" = "$(sha256sum <"$2")" ] || die "$1 and $2 differ"; }

check_space() {
  local free
  free=$(($(df --output=avail -k "$demo" | tail -n 1) / 1024))
  [ "$free" -ge "$needed_mib" ] || die "$demo needs $needed_mib MiB of free space, but has $free MiB"
}

# The demo profile compiles faster than release. The Python environment is made while cargo builds.
build() {
  local python
  say "building: library, embedded store, C program, Python package"
  "$ROOT/scripts/setup.sh" python &
  python=$!
  cargo build -q --profile demo -p s3vault -p embedded-store
  make -s -C "$ROOT/bindings/c" LIBDIR="$RELEASE" OUT="$demo/c" >&2
  wait $python
  S3VAULT_BUILD_LIBRARY=$RELEASE/libs3vault.so "$VENV/bin/pip" install -q --disable-pip-version-check \
    --no-build-isolation --no-deps --force-reinstall "$ROOT/bindings/python" >&2
}

start_store() {
  if [ -n "${S3VAULT_API_URL:-}" ]; then
    [ -n "${S3VAULT_BUCKET:-}" ] || die "S3VAULT_API_URL is set: set S3VAULT_BUCKET to a bucket with versioning too"
    say "store: $S3VAULT_API_URL, bucket $S3VAULT_BUCKET"
    return
  fi
  embedded=$demo/store
  trap '"$ROOT/scripts/stores/embedded.sh" stop "$embedded"' EXIT
  eval "$(STORE_OWNER=$$ "$ROOT/scripts/stores/embedded.sh" start "$embedded")"
  say "store: embedded, at $S3VAULT_API_URL"
}

cd "$ROOT"
rm -rf "$demo"
mkdir -p "$demo"
check_space
build
start_store

say "running:"
measure "make an ext4 image of this machine's files" - "$ROOT/scripts/image.sh" make "$image"
"$s3vault" keys new "$demo/keyring" >/dev/null
export S3VAULT_KEYRING=$demo/keyring
measure "store it from a file (s3vault)" "$image" "$s3vault" put "$container" "$path" "$image" >/dev/null
cp --sparse=always "$image" "$demo/first.img"
measure "change the image: one more file in it" - "$ROOT/scripts/image.sh" change "$image"
measure "store it again from a pipe (s3vault)" "$image" store_from_pipe
measure "list the versions (s3vault)" - list_versions
first=$("$s3vault" --json versions "$container" "$path" | python3 -c '
import json, sys
versions = [json.loads(line) for line in sys.stdin]  # newest first
assert len(versions) == 2, versions
print(versions[1]["vid"])')
measure "restore the newest (C program)" "$image" "$c_program" get "$container" "$path" "$demo/newest.restored" >/dev/null
measure "restore the first (C program)" "$demo/first.img" \
  "$c_program" get "$container" "$path" "$demo/first.restored" "$first" >/dev/null
measure "compare SHA-256 of the newest" "$image" same "$image" "$demo/newest.restored"
measure "compare SHA-256 of the first" "$demo/first.img" same "$demo/first.img" "$demo/first.restored"
"$s3vault" manifest "$container" "$path" "$demo/manifest"
"$s3vault" keys public "$demo/keyring" >"$demo/public-key"
rm "$demo/newest.restored" "$demo/first.restored" "$demo/first.img"

printf '\n%-44s %10s %9s %9s\n' step size seconds requests
printf '%s\n' "${rows[@]}"
cat <<END

Both versions came back byte for byte. The library is built for a quick start here: \`make bench\` shows its speed.
The verification page is built now (some minutes).
END
make -s page >&2
cat <<END
To verify the newest version without trusting any store, open in a browser
  $ROOT/bindings/web/dist/s3vault-verify.html
and drop there
  the manifest      $demo/manifest
  the stored file   $image
  the public key    $demo/public-key
END

#!/usr/bin/env bash
# scripts/image.sh make FILE: makes an ext4 image of 400 MiB with about 300 MB of this machine's files in it.
# scripts/image.sh change FILE: writes one more file into the image, as a running machine would.
# Needs neither root nor a mount.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

[ $# = 2 ] || die "usage: image.sh make|change FILE"
image=$2
work=$(mktemp -d "$(dirname "$image")/image.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Lists readable files of this clone and of the system, up to 300 MB in total. Tiny files only take time, so it skips them.
list_files() {
  { find "$ROOT/core" "$ROOT/ffi" /usr/share /usr/bin /usr/lib -xdev -type f -readable \
      -size -8M \( -path "$ROOT/*" -o -size +15k \) -printf '%s %p\0' 2>/dev/null || true; } |
    awk -v RS='\0' -v ORS='\0' -v limit=300000000 '
      { size = $1; sub(/^[0-9]+ /, "") }
      total + size + 4096 <= limit { total += size + 4096; print }'
}

make_image() {
  mkdir "$work/files"
  list_files | tar -C / -cf - --null --no-recursion -P --transform 's,^/,,' --files-from=- |
    tar -C "$work/files" -xf - --no-same-owner --no-same-permissions
  rm -f "$image"
  truncate -s 400M "$image"
  mke2fs -q -F -t ext4 -b 4096 -L s3vault-demo -d "$work/files" "$image"
}

# debugfs exits with 0 even if it failed, so check that the file is there.
change_image() {
  head -c 20000000 /dev/urandom >"$work/new"
  debugfs -w -R "write $work/new written-later" "$image" >"$work/log" 2>&1
  debugfs -R "stat written-later" "$image" 2>/dev/null | grep -q 'Size: 20000000' ||
    { cat "$work/log" >&2; die "debugfs could not write to $image"; }
}

case $1 in
  make) make_image ;;
  change) change_image ;;
  *) die "usage: image.sh make|change FILE" ;;
esac

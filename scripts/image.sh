#!/usr/bin/env bash
# scripts/image.sh make FILE: an ext4 image of 400 MiB with some 300 MB of this machine's own files in it.
# scripts/image.sh change FILE: writes one more file into that image, as a running machine would.
# Needs neither root nor a mount.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

[ $# = 2 ] || die "usage: image.sh make|change FILE"
image=$2
work=$(mktemp -d "$(dirname "$image")/image.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Readable files of this clone and of the system, until 300 MB are together; thousands of tiny ones only take time.
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

# debugfs ends with 0 whatever happened, so the file is looked for.
change_image() {
  head -c 20000000 /dev/urandom >"$work/new"
  debugfs -w -R "write $work/new written-later" "$image" >"$work/log" 2>&1
  debugfs -R "stat written-later" "$image" 2>/dev/null | grep -q 'Size: 20000000' ||
    { cat "$work/log" >&2; die "debugfs did not write into $image"; }
}

case $1 in
  make) make_image ;;
  change) change_image ;;
  *) die "usage: image.sh make|change FILE" ;;
esac

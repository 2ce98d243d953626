#!/usr/bin/env bash
# scripts/release.sh: builds all packages of the version in Cargo.toml into build/release: the C library with header, pkg-config
# and CMake files, the wheel, the jars, the npm package, the verification page, the bill of materials (CycloneDX), and
# SHA256SUMS. Fails if CHANGELOG.md has no section for the version, if a dependency has an advisory of RustSec's database or
# the database cannot be fetched, or if the library is larger than it may be. S3VAULT_WITHOUT_ADVISORIES=1, for a trial on a
# machine without the Internet, leaves the advisories out.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

cd "$ROOT"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
platform=$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)
out=$BUILD/release
dist=$TARGET/dist

[ -z "$(git status --porcelain)" ] || die "commit first: a release is built from a commit"
grep -q "^## \[$version\]" CHANGELOG.md || die "CHANGELOG.md has no section '## [$version]'"
cargo xtask generate --check

if [ "${S3VAULT_WITHOUT_ADVISORIES:-}" != 1 ]; then
  say "release: advisories"
  "$CARGO_DENY" check advisories ||
    die "a dependency has an advisory, or the database could not be fetched: update the dependency, or say in deny.toml why not"
fi

rm -rf "$out"
mkdir -p "$out"

say "release: library"
scripts/library_size.sh

say "release: C"
name=s3vault-$version-$platform
make -s -C bindings/c install LIBDIR="$dist" PREFIX="/$name" DESTDIR="$out"
# The folder may be unpacked anywhere.
sed -i "s|^prefix=.*|prefix=\${pcfiledir}/../..|; s|/$name/|\${prefix}/|" "$out/$name/lib/pkgconfig/s3vault.pc"
cp README.md CHANGELOG.md LICENSE-* "$out/$name/"
tar -C "$out" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" \
  -czf "$out/$name.tar.gz" "$name"
rm -r "${out:?}/$name"

say "release: Python"
S3VAULT_BUILD_LIBRARY=$dist/libs3vault.so "$VENV/bin/pip" wheel -q --disable-pip-version-check --no-build-isolation --no-deps \
  -w "$out" bindings/python

say "release: Java"
mvn -q -B -ntp -f bindings/java -Prelease -Ds3vault.library="$dist/libs3vault.so" -DskipTests package
cp bindings/java/target/s3vault-"$version"*.jar "$out/"

say "release: npm, page"
make -s page
npm --silent pack --pack-destination "$out" ./bindings/wasm >/dev/null
cp bindings/web/dist/s3vault-verify.html "$out/s3vault-verify-$version.html"

say "release: bill of materials"
"$CARGO_CYCLONEDX" cyclonedx -q --manifest-path ffi/Cargo.toml --format json --spec-version 1.5 --override-filename "s3vault-$version.cdx"
# Without this machine's folders; and the tool writes one for each package of the workspace.
sed "s|file://$ROOT/||g" "ffi/s3vault-$version.cdx.json" >"$out/s3vault-$version.cdx.json"
git clean -fq -- "*s3vault-$version.cdx.json"

(cd "$out" && sha256sum -- * >SHA256SUMS)
ls -l "$out" >&2
[ "${S3VAULT_WITHOUT_ADVISORIES:-}" != 1 ] ||
  say "release: NOT CHECKED: advisories, because S3VAULT_WITHOUT_ADVISORIES=1 is set: do not publish this"

#!/usr/bin/env bash
# scripts/setup.sh GROUP|PART...: installs what is missing, and nothing else.
#
#   groups   check   what `make check` needs
#            demo    what `make demo` needs until it has shown its table
#            test    what `make test` needs, except its servers and cargo-deny (add minio, versitygw and deny for them)
#            deep    what `make deep` needs: everything
#            bench   what `make bench` needs
#            release what `make release` needs
#   parts    compiler rust wasm image loop go python age c valgrind java node chromium minio versitygw garage ceph fuzz
#            rage peers backups deny cyclonedx softhsm
#
# Rust (rustup), Python 3.10+, a JDK 17+, Node 20+ and Go must be installed already.
# apt-get installs Debian packages, with sudo if the caller is not root.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

wanted_packages=()
has() { command -v "$1" >/dev/null 2>&1; }
want() { wanted_packages+=("$@"); }
expect() { has "$1" || die "$1 is missing: install $2, then run this again"; }

# Checks the tool chains that users install themselves, before anything else is installed.
toolchain_of() {
  case $1 in
    rust | wasm | rage) expect cargo "Rust 1.95 or newer (rustup)" ;;
    python) expect python3 "Python 3.10 or newer" ;;
    java) expect javac "a JDK, 17 or newer" ;;
    node)
      expect npm "Node 20 or newer, with npm"
      node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' ||
        die "Node $(node --version) is too old: install 20 or newer" ;;
    go) expect go "Go 1.24 or newer" ;;
    minio) [ -x "$MINIO" ] || expect go "Go 1.24 or newer" ;;
    versitygw) [ -x "$VERSITYGW" ] || expect go "Go 1.24 or newer" ;;
    peers | backups)
      expect python3 "Python 3.11 or newer"
      expect go "Go 1.26 or newer" ;;
    garage) [ -x "$GARAGE" ] || expect cargo "Rust 1.95 or newer (rustup)" ;;
  esac
}

# Adds the Debian packages that a part needs. The same test runs again after the installation.
packages_of() {
  case $1 in
    compiler)
      has gcc || want gcc
      has g++ || want g++
      has make || want make
      has pkg-config || want pkg-config
      # A compiler without the headers of the C library is of no use.
      [ ! -x "$(command -v gcc)" ] || echo '#include <stdlib.h>' | gcc -E -x c - >/dev/null 2>&1 || want libc6-dev ;;
    loop) has losetup || want mount ;;
    image) if ! has mke2fs || ! has debugfs; then want e2fsprogs; fi ;;
    python | peers) python3 -c 'import ensurepip, venv' 2>/dev/null || want python3-venv ;;
    c)
      pkg-config --exists libcjson 2>/dev/null || want libcjson-dev
      # The sanitizers of clang are a package of their own.
      echo 'int main(void) { return 0; }' | clang -fsanitize=address,undefined -x c - -o /dev/null 2>/dev/null ||
        want clang libclang-rt-dev
      has cmake || want cmake ;;
    age) if ! has age || ! has age-keygen; then want age; fi ;;
    valgrind) has valgrind || want valgrind ;;
    softhsm)
      has softhsm2-util || want softhsm2
      pkg-config --exists p11-kit-1 2>/dev/null || want libp11-kit-dev ;;
    java) has mvn || want maven ;;
    chromium) [ -n "${CHROMIUM:-}" ] || has chromium || want chromium ;;
    ceph)
      has ceph-mon || want ceph-mon
      has ceph-osd || want ceph-osd
      has radosgw || want radosgw
      if ! has ceph || ! has radosgw-admin; then want ceph-common; fi ;;
  esac
  case $1 in
    minio | versitygw | garage | ceph)
      has openssl || want openssl
      has curl || want curl
      [ -e /etc/ssl/certs/ca-certificates.crt ] || want ca-certificates ;;
  esac
}

install_packages() {
  local part sudo=()
  for part in "${parts[@]}"; do packages_of "$part"; done
  [ ${#wanted_packages[@]} -gt 0 ] || return 0
  has apt-get || die "these packages are missing, and there is no apt-get to install them: ${wanted_packages[*]}"
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  say "setup: installing the Debian packages ${wanted_packages[*]}"
  "${sudo[@]}" apt-get update -qq >&2 || die "apt-get update failed; these packages are missing: ${wanted_packages[*]}"
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "${wanted_packages[@]}" >"$BUILD/apt.log" 2>&1 ||
    { tail -n 20 "$BUILD/apt.log" >&2; die "apt-get could not install ${wanted_packages[*]}"; }
  wanted_packages=()
  for part in "${parts[@]}"; do packages_of "$part"; done
  [ ${#wanted_packages[@]} -eq 0 ] || die "these packages are installed but do not work: ${wanted_packages[*]}"
}

setup_wasm() {
  local target=wasm32-unknown-unknown
  compgen -G "$(rustc --print sysroot)/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null && return
  has rustup || die "the Rust target $target is missing, and there is no rustup to add it"
  say "setup: adding the Rust target $target"
  rustup target add $target >&2 || die "rustup could not add $target"
}

# Installs cargo-fuzz, and the nightly toolchain that its instrumentation needs.
setup_fuzz() {
  rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal >&2 ||
    die "rustup could not install nightly, which cargo-fuzz needs"
  cargo fuzz --version >/dev/null 2>&1 && return
  say "setup: building cargo-fuzz (takes a few minutes, once)"
  cargo install cargo-fuzz --locked >"$BUILD/cargo-fuzz-install.log" 2>&1 ||
    { tail -n 20 "$BUILD/cargo-fuzz-install.log" >&2; die "cargo install cargo-fuzz failed"; }
}

# Creates the Python environment of builds and tests, separate from the system's Python.
setup_python() {
  cmp -s "$ROOT/scripts/requirements.txt" "$VENV/requirements.txt" && "$VENV/bin/python" -c '' 2>/dev/null && return
  say "setup: making build/venv from scripts/requirements.txt"
  python3 -m venv --clear "$VENV"
  "$VENV/bin/pip" install -q --disable-pip-version-check -r "$ROOT/scripts/requirements.txt" >&2 ||
    die "pip could not install scripts/requirements.txt"
  cp "$ROOT/scripts/requirements.txt" "$VENV/"
}

# go_install TITLE PACKAGE@VERSION BINARY: builds a program from source, once per machine.
go_install() {
  local log=$BUILD/$1-install.log
  [ ! -x "$3" ] || return 0
  say "setup: building $1 into $TOOLS_DIR (takes minutes, once)"
  GOBIN=$(dirname "$3") go install "$2" >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "go install $2 failed"; }
}

# Installs the clients that `make bench` compares s3vault with: rclone, and a Python environment with boto3 and awscrt,
# separate from that of the tests.
setup_peers() {
  local wanted=$BUILD/bench/requirements.txt
  go_install rclone "github.com/rclone/rclone@$RCLONE_VERSION" "$RCLONE"
  mkdir -p "$BUILD/bench"
  cat "$ROOT/tests/bench/requirements.txt" "$ROOT/scripts/requirements.txt" >"$wanted"
  cmp -s "$wanted" "$BENCH_VENV/requirements.txt" && "$BENCH_VENV/bin/python" -c '' 2>/dev/null && return
  say "setup: making build/bench/venv from tests/bench/requirements.txt"
  python3 -m venv --clear "$BENCH_VENV"
  "$BENCH_VENV/bin/pip" install -q --disable-pip-version-check -r "$ROOT/tests/bench/requirements.txt" \
    -c "$ROOT/scripts/requirements.txt" >&2 || die "pip could not install tests/bench/requirements.txt"
  cp "$wanted" "$BENCH_VENV/requirements.txt"
}

# Installs the backup programs that `make bench-retention` compares s3vault with.
setup_backups() {
  go_install restic "github.com/restic/restic/cmd/restic@$RESTIC_VERSION" "$RESTIC"
  [ ! -x "$KOPIA" ] || return 0
  say "setup: building kopia into $TOOLS_DIR (takes minutes, once)"
  # In a module of its own: `go install` also asks for the list of versions, which some proxies do not have of it.
  (
    module=$(mktemp -d "$BUILD/kopia.XXXXXX")
    trap 'rm -rf "$module"' EXIT
    cd "$module"
    go mod init kopia-for-the-bench && go get "github.com/kopia/kopia@$KOPIA_VERSION" &&
      go build -o "$KOPIA" github.com/kopia/kopia
  ) >"$BUILD/kopia-install.log" 2>&1 || { tail -n 20 "$BUILD/kopia-install.log" >&2; die "kopia could not be built"; }
}

# cargo_install NAME VERSION [OPT_LEVEL]: builds a program from source, without optimisation if there is no OPT_LEVEL, once
# per machine.
cargo_install() {
  local log=$BUILD/$1-install.log root=$TOOLS_DIR/$1-$2
  [ ! -x "$root/bin/$1" ] || return 0
  say "setup: building $1 into $TOOLS_DIR (takes minutes, once)"
  CARGO_TARGET_DIR=$BUILD/$1-target CARGO_PROFILE_RELEASE_OPT_LEVEL=${3:-0} CARGO_PROFILE_RELEASE_LTO=off \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_STRIP=true \
    cargo install "$1" --version "$2" --locked --root "$root" >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; die "cargo install $1 failed"; }
  rm -rf "$BUILD/$1-target"
}
setup_deny() { cargo_install cargo-deny "$CARGO_DENY_VERSION"; }
# Optimized for its passphrases: it refuses those whose work would take this machine too long.
setup_rage() { cargo_install rage "$RAGE_VERSION" 2; }
setup_cyclonedx() { cargo_install cargo-cyclonedx "$CARGO_CYCLONEDX_VERSION"; }

setup_minio() { go_install minio "github.com/minio/minio@$MINIO_VERSION" "$MINIO"; }
setup_versitygw() { go_install versitygw "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW_VERSION" "$VERSITYGW"; }

# Builds only what the S3 API needs, lightly optimized: Garage's own settings take 50 % longer to build.
# The target folder (gigabytes) is removed when the subshell exits.
setup_garage() {
  [ ! -x "$GARAGE" ] || return 0
  say "setup: building Garage into $TOOLS_DIR (takes 10 to 15 minutes, once)"
  (
    target=$(mktemp -d "$BUILD/garage-target.XXXXXX")
    trap 'rm -rf "$target"' EXIT
    CARGO_TARGET_DIR=$target CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_STRIP=true \
      nice -n 15 cargo install garage --version "$GARAGE_VERSION" --locked --root "$TOOLS_DIR/garage-$GARAGE_VERSION" \
      --no-default-features --features bundled-libs,sqlite >"$BUILD/garage-install.log" 2>&1
  ) || { tail -n 20 "$BUILD/garage-install.log" >&2; die "cargo install garage $GARAGE_VERSION failed"; }
}

parts=()
for name in "$@"; do
  case $name in
    check) parts+=(compiler rust wasm deny) ;;
    demo) parts+=(compiler rust image) ;;
    test) parts+=(compiler rust wasm image loop go python age c valgrind java node chromium) ;;
    deep) parts+=(compiler rust wasm image python age rage c softhsm valgrind java node chromium minio versitygw garage ceph fuzz) ;;
    bench) parts+=(compiler rust peers) ;;
    release) parts+=(compiler rust wasm python java node deny cyclonedx) ;;
    compiler | rust | wasm | image | loop | go | python | age | c | softhsm | valgrind | java | node | chromium) parts+=("$name") ;;
    minio | versitygw | garage | ceph | fuzz | rage | peers | backups | deny | cyclonedx) parts+=("$name") ;;
    *) die "unknown part '$name'; the top of this file lists them" ;;
  esac
done
[ ${#parts[@]} -gt 0 ] || die "name what to set up: check, demo, test, deep, bench, release, or single parts"

mkdir -p "$BUILD"
for part in "${parts[@]}"; do toolchain_of "$part"; done
install_packages
for part in "${parts[@]}"; do
  if declare -F "setup_$part" >/dev/null; then "setup_$part"; fi
done

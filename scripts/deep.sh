#!/usr/bin/env bash
# scripts/deep.sh [SLICE...]: runs the long tests ("slices") one after another; without arguments, all of them. A slice that
# has passed at this commit is not run again. Writes docs/proof.md: what each slice counted when it last passed, at which
# commit, and which slices have never passed.
#
# FUZZ_SECONDS (default: 300) is how long each fuzz target runs. `SLICES="fuzz-reply oracle" make deep` runs these two.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

cd "$ROOT"
with=scripts/with-store.sh
python=$VENV/bin/python
fuzz_seconds=${FUZZ_SECONDS:-300}

# What each slice runs. The last line of its output that has a digit is its count.
# system STORE MODULE [OPTION...]: runs a module of tests/system on the store.
system() { $with "$1" -- "$python" -m pytest "tests/system/test_$2.py" "${@:3}"; }
cross-callers-8-GiB() { system minio cross_callers --mib 8192; }
killed-uploads() { system minio killed_upload --rounds 12; }
killed-uploads-embedded() { system embedded killed_upload --rounds 12; }
# 200 puts in four slices, each with its own seed: a store stops after 90 minutes, and a slice that passed is not run again.
killed-resume-2-GiB() { system minio killed_resume --rounds 25 --mib 2048 --seed "$1"; }
killed-resume-2-GiB-a() { killed-resume-2-GiB 11; }
killed-resume-2-GiB-b() { killed-resume-2-GiB 12; }
killed-resume-2-GiB-c() { killed-resume-2-GiB 13; }
killed-resume-2-GiB-d() { killed-resume-2-GiB 14; }
cut-complete() { system minio cut_complete --rounds 150; }
broken-line() { system minio broken_line --mib 64 --shares 0,5,10,20; }
# 2,000 backups with 100 versions each.
many-versions() { system embedded many_versions --versions 200000 --backups 2000; }
rotation() { system minio rotation --versions 10000; }
rekey() { system minio rekey --mib 20480; }
rekey-ceph() { system ceph rekey --mib 384; }
many-versions-emulated() { system embedded:emulated many_versions --versions 200000 --backups 2000; }
# count PATTERN COMMAND...: runs COMMAND, and prints the last line of its output that has PATTERN once more.
count() { "${@:2}" | tee "$done_slices/output" && grep -E "$1" "$done_slices/output" | tail -n 1; }
page-1-GiB() { count '^(#|ℹ) pass' $with embedded -- scripts/page_backup.sh 1024 npm --prefix bindings/web test; }
cases-c-minio() { $with minio -- make --no-print-directory -C bindings/c test; }
cases-java-minio() {
  # RetireTest moves the clock of the embedded store.
  count 'Tests run:' $with minio -- mvn -B -ntp -f bindings/java -Ds3vault.library="$RELEASE/libs3vault.so" -Dsurefire.excludes='**/RetireTest.java' test
}
# cases CALLER STORE[:MODE]: runs the shared cases through this caller.
cases() {
  case $1 in
    rust) $with "$2" -- cargo test -q --release --test cases ;;
    python) count ' passed' $with "$2" -- "$python" -m pytest -q bindings/python/tests/test_cases.py ;;
    c) $with "$2" -- make --no-print-directory -C bindings/c test-cases ;;
    java) count 'Tests run:' $with "$2" -- mvn -B -ntp -f bindings/java -Ds3vault.library="$RELEASE/libs3vault.so" test -Dtest=CasesTest ;;
  esac
}
# encrypted KIND CALLER STORE[:MODE]: the same with encrypted data. Ceph and Garage are on plain HTTP here.
encrypted() { S3VAULT_ENCRYPTION=$1 S3VAULT_ALLOW_PLAIN_SSE_C=true cases "${@:2}"; }
cases-python-minio-sse-c() { encrypted sse-c python minio; }
cases-c-minio-sse-c() { encrypted sse-c c minio; }
cases-java-minio-sse-c() { encrypted sse-c java minio; }
cases-minio-per-vm-sse-c() { encrypted sse-c rust minio:per-vm; }
cases-minio-emulated-sse-c() { encrypted sse-c rust minio:emulated; }
cases-minio-sse-s3() { encrypted sse-s3 rust minio; }
cases-ceph-sse-c() { encrypted sse-c rust ceph; }
cases-garage-emulated-sse-c() { encrypted sse-c rust garage:emulated; }
cases-python-versitygw-emulated-envelope() { encrypted envelope python versitygw:emulated; }
cases-c-versitygw-emulated-envelope() { encrypted envelope c versitygw:emulated; }
cases-java-versitygw-emulated-envelope() { encrypted envelope java versitygw:emulated; }
cases-minio-per-vm-envelope() { encrypted envelope rust minio:per-vm; }
cases-python-minio-emulated() { cases python minio:emulated; }
cases-ceph() { cases rust ceph; }
cases-python-ceph() { cases python ceph; }
cases-c-ceph() { cases c ceph; }
cases-java-ceph() { cases java ceph; }
cases-ceph-per-vm() { cases rust ceph:per-vm; }
cases-python-ceph-per-vm() { cases python ceph:per-vm; }
cases-c-ceph-per-vm() { cases c ceph:per-vm; }
cases-java-ceph-per-vm() { cases java ceph:per-vm; }
cases-ceph-emulated() { cases rust ceph:emulated; }
cases-garage-emulated() { cases rust garage:emulated; }
cases-python-garage-emulated() { cases python garage:emulated; }
cases-c-garage-emulated() { cases c garage:emulated; }
cases-java-garage-emulated() { cases java garage:emulated; }
retention-minio-per-vm() { system minio:per-vm retention; }
retention-ceph() { system ceph retention; }
retention-ceph-per-vm() { system ceph:per-vm retention; }
retention-garage-emulated() { system garage:emulated retention; }
odd-buckets() { system minio odd_buckets --versions 2500; }
odd-buckets-ceph() { system ceph odd_buckets; }
sse-c-ceph() { system ceph sse_c; }
sse-c-ceph-emulated() { system ceph:emulated sse_c; }
sse-c-garage-emulated() { system garage:emulated sse_c; }
envelope-garage-emulated() { system garage:emulated envelope; }
locks-ceph() { system ceph locks; }
plain-key-ceph() { system ceph plain_key; }
plain-key-ceph-per-vm() { system ceph:per-vm plain_key; }
# Over plain HTTP: memcheck reports the keys that ring derives for TLS as uninitialised.
# A key in the software token of SoftHSM, over PKCS#11.
hsm() { $with embedded -- make --no-print-directory -C bindings/c test-hsm; }
c-cases-valgrind() { $with embedded -- make --no-print-directory -C bindings/c valgrind valgrind-cases; }
# rage does with escrow files what age does in `make test-python`; it asks for passphrases on the terminal.
escrow-rage() {
  count ' passed' env S3VAULT_TEST_AGE="$RAGE" PINENTRY_PROGRAM= $with embedded -- "$python" -m pytest -q \
    bindings/python/tests/test_keyring.py -k "age_opens or age_encrypted"
}
constant-time() { cargo run -q --release --bin constant-time; }
oracle() { "$python" tests/oracle/oracle.py --count 50000; }
simulator() { cargo run -q --release --bin simulator -- --seeds 20000; }
deletions() { cargo run -q --release --bin simulator -- deletions --seeds 20000; }
equal-results() { cargo run -q --release --bin simulator -- equal --seeds 50000; }
operations-ceph() { $with ceph -- cargo test -q --release --test operations; }
operations-garage() { $with garage -- cargo test -q --release --test operations; }
altered-ceph() { $with ceph -- "$python" tests/oracle/altered.py; }
altered-garage() { $with garage -- "$python" tests/oracle/altered.py; }

library-size() { scripts/library_size.sh; }
# The library as it is shipped.
memory() {
  cargo rustc -q --profile dist -p s3vault --crate-type cdylib
  make --no-print-directory -C bindings/c build/memory
  EMBEDDED_SCHEME=https system embedded memory -k in_c --delay 100 --mib 4096 --library "$TARGET/dist/libs3vault.so"
}

# Shows that the benches build and run. Their figures depend on the machine, and may miss an aim: docs/performance.md has them.
bench_ran="s3vault and its peers were built and ran; the figures and the aims are in docs/performance.md"
bench-sign() { make -s bench-sign && echo "$bench_ran"; }
bench-clients() {
  cargo check -q --locked --workspace --manifest-path tests/bench/Cargo.toml --target-dir target/bench &&
    echo "the 4 clients of make bench in Rust compile"
}
bench-parse() { make -s bench-parse && echo "$bench_ran"; }

# Starts from the committed corpus, on nightly. New inputs are kept in build/fuzz for later runs.
fuzz() {
  local target=$1 corpus=$BUILD/fuzz/$1
  mkdir -p "$corpus"
  cargo +nightly fuzz run --fuzz-dir tests/fuzz --features live --target-dir "$BUILD/fuzz-target" "$target" \
    "$corpus" "tests/fuzz/corpus/$target" -- -max_total_time="$fuzz_seconds" -max_len=65536 -timeout=10 \
    -rss_limit_mb=2048 -print_final_stats=1 >"$BUILD/fuzz/$target.log" 2>&1 ||
    { tail -n 40 "$BUILD/fuzz/$target.log" >&2; return 1; }
  awk -v t="$target" -v s="$fuzz_seconds" \
    '/stat::number_of_executed_units/ { n = $2 } /cov:/ { c = $0 } END { sub(/.*cov: /, "", c); sub(/ .*/, "", c);
      print "fuzz " t ": " n " inputs in " s " s, " c " edges, no failure" }' "$BUILD/fuzz/$target.log"
}
fuzz-reply() { fuzz reply; }
fuzz-explain() { fuzz explain; }
fuzz-credentials() { fuzz credentials; }
fuzz-signed_object() { fuzz signed_object; }
fuzz-settings() { fuzz settings; }

all=(oracle escrow-rage constant-time simulator deletions equal-results cases-python-minio-emulated
  cases-ceph cases-python-ceph cases-c-ceph cases-java-ceph
  cases-ceph-per-vm cases-python-ceph-per-vm cases-c-ceph-per-vm cases-java-ceph-per-vm cases-ceph-emulated
  cases-garage-emulated cases-python-garage-emulated cases-c-garage-emulated cases-java-garage-emulated
  cases-python-minio-sse-c cases-c-minio-sse-c cases-java-minio-sse-c cases-minio-per-vm-sse-c cases-minio-emulated-sse-c
  cases-minio-sse-s3 cases-ceph-sse-c cases-garage-emulated-sse-c cases-python-versitygw-emulated-envelope
  cases-c-versitygw-emulated-envelope cases-java-versitygw-emulated-envelope cases-minio-per-vm-envelope
  retention-minio-per-vm retention-ceph retention-ceph-per-vm retention-garage-emulated odd-buckets
  odd-buckets-ceph locks-ceph sse-c-ceph sse-c-ceph-emulated sse-c-garage-emulated envelope-garage-emulated
  plain-key-ceph plain-key-ceph-per-vm operations-ceph operations-garage altered-ceph altered-garage fuzz-reply fuzz-explain fuzz-credentials
  fuzz-signed_object fuzz-settings library-size memory bench-clients bench-sign bench-parse killed-uploads killed-uploads-embedded
  killed-resume-2-GiB-a killed-resume-2-GiB-b killed-resume-2-GiB-c killed-resume-2-GiB-d cut-complete broken-line
  many-versions many-versions-emulated rotation rekey rekey-ceph
  cases-c-minio cases-java-minio c-cases-valgrind hsm cross-callers-8-GiB page-1-GiB)
chosen=("$@")
[ ${#chosen[@]} -gt 0 ] || chosen=("${all[@]}")
for name in "${chosen[@]}"; do
  [[ " ${all[*]} " == *" $name "* ]] || die "unknown slice '$name': the slices are ${all[*]}"
done

[ -z "$(git status --porcelain -- . ':!docs/proof.md')" ] || die "commit first: the proof names the commit"
commit=$(git rev-parse HEAD)
done_slices=$BUILD/deep/$commit
mkdir -p "$done_slices" docs

# step.sh runs a slice by calling this script again, since it cannot call a function of this process.
if [ "${DEEP_SLICE:-}" ]; then
  "$DEEP_SLICE"
  exit
fi

# A row tells what this commit did, so nothing that was built before may run.
make build-c build-python build-java

for name in "${chosen[@]}"; do
  [ ! -e "$done_slices/$name" ] || { say "deep: $name has already passed"; continue; }
  started=$SECONDS
  DEEP_SLICE=$name "$ROOT/scripts/step.sh" "deep: $name" "$0" 2>&1 | tee "$done_slices/$name.log"
  # A program that was killed may have left zeros in the log.
  counts=$(sed 's/\x1b\[[0-9;]*m//g' "$done_slices/$name.log" | grep -av '^===' | grep -av '^ *$' | grep -aE '[0-9]' | tail -n 1)
  echo "| $name | $counts | $((SECONDS - started)) | $(date -u +%Y-%m-%d) | ${commit:0:7} |" >"$done_slices/$name"
done

rows() {
  for name in "${all[@]}"; do
    cat "$done_slices/$name" 2>/dev/null || grep "^| $name |" docs/proof.md || echo "| $name | has not passed yet | | | |"
  done
}
proof=$(rows)
cat >docs/proof.md <<END
# Proof

What each slice of \`make deep\` counted when it last passed. The rows are of several commits: a row says what held at its commit, and nothing about later ones. A slice that fails keeps its last row.

| slice | counts | seconds | date | commit |
|---|---|---|---|---|
$proof
END
say "deep: ${#chosen[@]} slices passed; commit docs/proof.md"

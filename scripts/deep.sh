#!/usr/bin/env bash
# scripts/deep.sh [SLICE...]: the long forms, one slice after another; all of them where none is named. A slice that this
# commit has passed is not run again. Writes docs/proof.md: what each slice counted when it passed last, and at which commit.
#
# FUZZ_SECONDS (300) is how long each fuzz target runs. `SLICES="fuzz-reply oracle" make deep` runs these two.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

cd "$ROOT"
with=scripts/with-store.sh
python=$VENV/bin/python
fuzz_seconds=${FUZZ_SECONDS:-300}

# What each slice runs; the last line of its output that says something is its count.
cross-callers-8-GiB() { $with minio -- "$python" scripts/cross_callers.py --mib 8192; }
killed-uploads() { $with minio -- "$python" scripts/killed_upload.py --rounds 12; }
killed-uploads-embedded() { $with embedded -- "$python" scripts/killed_upload.py --rounds 12; }
# 200 times in four slices, each with dice of its own: a store ends after 90 minutes, and what has passed need not run again.
killed-resume-2-GiB() { $with minio -- "$python" scripts/killed_resume.py --rounds 25 --mib 2048 --seed "$1"; }
killed-resume-2-GiB-a() { killed-resume-2-GiB 11; }
killed-resume-2-GiB-b() { killed-resume-2-GiB 12; }
killed-resume-2-GiB-c() { killed-resume-2-GiB 13; }
killed-resume-2-GiB-d() { killed-resume-2-GiB 14; }
cut-complete() { $with minio -- "$python" scripts/cut_complete.py --rounds 150 --mib 64; }
broken-line() { $with minio -- "$python" scripts/breaking_proxy.py --mib 64; }
# Over plain HTTP: memcheck takes the keys that ring's TLS derives for uninitialised.
c-cases-valgrind() { $with embedded -- make -C bindings/c valgrind valgrind-cases; }
oracle() { "$python" tests/oracle/oracle.py --count 50000; }
simulator() { cargo run -q --release -p simulator -- --seeds 20000; }
operations-ceph() { $with ceph -- cargo test -q -p s3vault --test operations; }
cases-ceph() { S3VAULT_PROVIDER=ceph $with ceph -- cargo test -q -p s3vault --test cases; }
operations-garage() { $with garage -- cargo test -q -p s3vault --test operations; }
altered-ceph() { $with ceph -- "$python" tests/oracle/altered.py; }
altered-garage() { $with garage -- "$python" tests/oracle/altered.py; }

# That the benches still build and run; their figures are of one machine.
bench-sign() { make -s bench-sign; }
bench-parse() { make -s bench-parse; }

# On nightly, from the committed corpus; what is found new stays in build/fuzz, and stands for later runs.
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

all=(oracle simulator cases-ceph operations-ceph operations-garage altered-ceph altered-garage fuzz-reply fuzz-explain fuzz-credentials
  fuzz-signed_object fuzz-settings bench-sign bench-parse killed-uploads killed-uploads-embedded
  killed-resume-2-GiB-a killed-resume-2-GiB-b killed-resume-2-GiB-c killed-resume-2-GiB-d cut-complete broken-line c-cases-valgrind cross-callers-8-GiB)
chosen=("$@")
[ ${#chosen[@]} -gt 0 ] || chosen=("${all[@]}")
for name in "${chosen[@]}"; do
  [[ " ${all[*]} " == *" $name "* ]] || die "no slice is called '$name': there are ${all[*]}"
done

[ -z "$(git status --porcelain -- . ':!docs/proof.md')" ] || die "commit first: a proof names the commit it is of"
commit=$(git rev-parse HEAD)
done_slices=$BUILD/deep/$commit
mkdir -p "$done_slices" docs

# step.sh runs a slice by calling this script again: a function cannot be handed to another process.
if [ "${DEEP_SLICE:-}" ]; then
  "$DEEP_SLICE"
  exit
fi

for name in "${chosen[@]}"; do
  [ ! -e "$done_slices/$name" ] || { say "deep: $name has passed before"; continue; }
  started=$SECONDS
  DEEP_SLICE=$name "$ROOT/scripts/step.sh" "deep: $name" "$0" 2>&1 | tee "$done_slices/$name.log"
  counts=$(grep -v '^===' "$done_slices/$name.log" | grep -v '^ *$' | grep -E '[0-9]' | tail -n 1)
  echo "| $name | $counts | $((SECONDS - started)) | $(date -u +%Y-%m-%d) | ${commit:0:7} |" >"$done_slices/$name"
done

rows() {
  for name in "${all[@]}"; do
    cat "$done_slices/$name" 2>/dev/null || grep "^| $name |" docs/proof.md || true
  done
}
proof=$(rows)
cat >docs/proof.md <<END
# Proof

What the slices of \`make deep\` counted when they passed last.

| slice | counts | seconds | date | commit |
|---|---|---|---|---|
$proof
END
say "deep: ${#chosen[@]} slices passed; docs/proof.md is written: commit it"

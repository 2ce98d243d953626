#!/usr/bin/env bash
# scripts/deep.sh: the long forms, one slice after another. A slice that this commit has passed is not run again.
# Writes docs/proof.md: date, commit, what each slice counted.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

cd "$ROOT"
[ -z "$(git status --porcelain -- . ':!docs/proof.md')" ] || die "commit first: a proof names the commit it is of"
commit=$(git rev-parse HEAD)
done_slices=$BUILD/deep/$commit
mkdir -p "$done_slices" docs

# slice NAME COMMAND...: the last line of its output is its count.
slice() {
  local name=$1 started=$SECONDS
  shift
  [ ! -e "$done_slices/$name" ] || { say "deep: $name has passed before"; return; }
  "$ROOT/scripts/step.sh" "deep: $name" "$@" 2>&1 | tee "$done_slices/$name.log"
  echo "| $name | $(grep -v '^===' "$done_slices/$name.log" | grep -v '^ *$' | tail -n 1) | $((SECONDS - started)) |" \
    >"$done_slices/$name"
}

with=scripts/with-store.sh
slice cross-callers-8-GiB $with minio -- "$VENV/bin/python" scripts/cross_callers.py --mib 8192
slice killed-uploads $with minio -- "$VENV/bin/python" scripts/killed_upload.py --rounds 12
slice killed-uploads-embedded $with embedded -- "$VENV/bin/python" scripts/killed_upload.py --rounds 12
slice c-cases-valgrind $with minio -- make -C bindings/c test RUNNER='valgrind -q --error-exitcode=99 --leak-check=full'

{
  echo "# Proof"
  echo
  echo "What \`make deep\` counted on $(date -u +%Y-%m-%d) at commit $commit."
  echo
  echo "| slice | counts | seconds |"
  echo "|---|---|---|"
  for name in cross-callers-8-GiB killed-uploads killed-uploads-embedded c-cases-valgrind; do cat "$done_slices/$name"; done
} >docs/proof.md
say "deep: all slices passed; docs/proof.md is written: commit it"

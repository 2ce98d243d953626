#!/usr/bin/env bash
# scripts/slowest-steps.sh: prints the slowest steps that step.sh recorded in build/steps.tsv, the sum of all, and
# what was not tested because the environment says so.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

printf '\n%8s %8s  %s\n' seconds cpu "slowest steps"
sort -k1,1nr "$BUILD/steps.tsv" | head -n 15 | awk -F '\t' '{ printf "%8s %8s  %s\n", $1, $2, $3 }'
awk -F '\t' '{ wall += $1; cpu += $2 } END { printf "%8s %8s  all %d steps\n", wall, cpu, NR }' "$BUILD/steps.tsv"
[ "${S3VAULT_WITHOUT_LOOP:-}" != 1 ] ||
  printf '\nNOT TESTED: block devices (ffi/tests/disks.rs), because S3VAULT_WITHOUT_LOOP=1 is set\n'

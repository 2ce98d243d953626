#!/usr/bin/env bash
# scripts/step.sh TITLE COMMAND...: runs COMMAND under a headline, prints how it ended and how long it took, and adds a line
# (seconds, CPU seconds, title) to build/steps.tsv.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

title=$1
shift
printf '\n=== %s\n' "$title"
rc=0
"$@" || rc=$?
# User and system time of the children (proc(5): cutime and cstime), in hundredths of a second.
cpu=$(awk '{ printf "%.0f", ($16 + $17) / 100 }' /proc/$$/stat)
mkdir -p "$BUILD"
printf '%s\t%s\t%s\n' $SECONDS "$cpu" "$title" >>"$BUILD/steps.tsv"
if [ $rc = 0 ]; then
  printf '=== %s: done, %s s\n' "$title" $SECONDS
else
  printf '=== %s: FAILED with code %s after %s s\n' "$title" $rc $SECONDS
fi
exit $rc

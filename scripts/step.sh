#!/usr/bin/env bash
# scripts/step.sh TITLE COMMAND...: runs COMMAND under a headline, and says how it ended and how long it took.
set -euo pipefail

title=$1
shift
printf '\n=== %s\n' "$title"
started=$SECONDS
rc=0
"$@" || rc=$?
if [ $rc = 0 ]; then
  printf '=== %s: done, %s s\n' "$title" $((SECONDS - started))
else
  printf '=== %s: FAILED with code %s after %s s\n' "$title" $rc $((SECONDS - started))
fi
exit $rc

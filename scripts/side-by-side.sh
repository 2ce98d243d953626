#!/usr/bin/env bash
# scripts/side-by-side.sh TARGET TARGET: makes two targets at the same time. What the first prints is shown when the second
# has ended. Fails if either fails.
set -euo pipefail
# shellcheck source=scripts/paths.sh
. "$(dirname "$0")/paths.sh"

cd "$ROOT"
mkdir -p "$BUILD"
log=$BUILD/$1.log
# In a process group of its own, so that an interrupt ends the servers of its tests too.
set -m
make -k "$1" >"$log" 2>&1 </dev/null &
first=$!
set +m
trap 'kill -TERM -- -$first 2>/dev/null || true; wait $first || true; exit 130' INT TERM

failed=0
make -k "$2" || failed=$?
wait $first || failed=$?
cat "$log"
printf '\n%s and %s took %s s\n' "$1" "$2" $SECONDS
exit $failed

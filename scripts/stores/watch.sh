#!/usr/bin/env bash
# scripts/stores/watch.sh OWNER COMMAND...: runs COMMAND until it exits, the process OWNER exits, or 90 minutes have
# passed. Then it kills the whole process group, which server.sh created with setsid.
set -uo pipefail

owner=$1
shift
"$@" &
timeout --foreground 5400 tail --pid="$owner" -f /dev/null &
wait -n
# SIGKILL: a test server has nothing to save, and some take 10 seconds to shut down.
kill -KILL 0

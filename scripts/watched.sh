#!/usr/bin/env bash
# scripts/watched.sh OWNER COMMAND...: runs COMMAND until it ends by itself, the process OWNER is gone or 90 minutes have
# passed; then ends the whole process group, which server.sh has made for it by setsid.
set -uo pipefail

owner=$1
shift
"$@" &
timeout --foreground 5400 tail --pid="$owner" -f /dev/null &
wait -n
# By force: a test's server has nobody to say good-bye to, and some take 10 seconds over it.
kill -KILL 0

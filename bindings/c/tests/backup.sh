#!/usr/bin/env bash
# tests/backup.sh NEW_KEYRING BACKUP...: the promises of examples/backup.c, on the store that the environment names.
# BACKUP may be several words, such as valgrind with its options, and the program.
set -euo pipefail

new_keyring=$1
shift
backup=("$@")
: "${S3VAULT_API_URL:?is not set: start a store, as scripts/with-store.sh does}"
container=backup-c-$$
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { printf 'FAIL %s\n' "$*"; [ ! -s "$work/stderr" ] || sed 's/^/  /' "$work/stderr"; exit 1; }
ok() { printf 'ok %s\n' "$*"; }

# expect CODE ARGUMENT...: runs backup, and checks its exit code. Its output is in $work/stdout and $work/stderr.
expect() {
  local code=$1 rc=0
  shift
  "${backup[@]}" "$@" >"$work/stdout" 2>"$work/stderr" || rc=$?
  [ $rc = "$code" ] || fail "backup $*: exit code $rc instead of $code"
}
# refused CODE ARGUMENT...: as expect; standard error must have a message and a hint.
refused() {
  expect "$@"
  grep -q '^backup: ..' "$work/stderr" || fail "backup ${*:2}: no message"
  grep -q '^  hint: ..' "$work/stderr" || fail "backup ${*:2}: no hint"
}

export S3VAULT_KEYRING=$work/vault.keys
"$new_keyring" "$S3VAULT_KEYRING"

head -c 20000000 /dev/urandom >"$work/first"
head -c 9000001 /dev/urandom >"$work/second"

expect 0 put $container round/trip "$work/first"
grep -Eqx 'vid=[0-9A-Za-z]{26} hash=[0-9a-f]{64} bytes=20000000' "$work/stdout" || fail "put: $(cat "$work/stdout")"
first=$(sed 's/vid=\([^ ]*\).*/\1/' "$work/stdout")
expect 0 put $container round/trip - <"$work/second"
second=$(sed 's/vid=\([^ ]*\).*/\1/' "$work/stdout")
ok "put from a file and from a pipe"

expect 0 versions $container round/trip
[ "$(cut -d ' ' -f 1 "$work/stdout" | tr '\n' ' ')" = "$second $first " ] || fail "versions: $(cat "$work/stdout")"
grep -q ' 9000001$' "$work/stdout" || fail "versions: no size of 9000001"
ok "versions, newest first"

expect 0 get $container round/trip "$work/restored"
cmp "$work/restored" "$work/second" || fail "get into a file"
expect 0 get $container round/trip - "$first"
cmp "$work/stdout" "$work/first" || fail "get of a version by its vid, to standard output"
ok "get into a file and to standard output"

(unset S3VAULT_KEYRING && expect 0 get $container round/trip "$work/restored")
grep -q 'not verified: the vault knows no public key' "$work/stderr" || fail "get without a keyring says nothing"
ok "get without a keyring says that it verifies no signature"

# Settings from a file; the environment has precedence.
printf 'bucket = "%s"\nregion = "%s"\n' "$S3VAULT_BUCKET" "${S3VAULT_REGION:-us-east-1}" >"$work/s3vault.toml"
(unset S3VAULT_BUCKET && S3VAULT_CONFIG=$work/s3vault.toml expect 0 versions $container round/trip)
S3VAULT_CONFIG=$work/s3vault.toml S3VAULT_BUCKET=no-such-bucket-here refused 3 versions $container round/trip
printf 'buckte = "x"\n' >"$work/s3vault.toml"
S3VAULT_CONFIG=$work/s3vault.toml refused 2 versions $container round/trip
ok "settings from a file and the environment"

expect 2
expect 2 put $container
refused 2 put "not/a-container" path "$work/second"
refused 3 get $container never/stored -
refused 3 get $container round/trip - "${first%?????}00000"
S3VAULT_BUCKET=no-such-bucket-here refused 3 get $container round/trip -
S3VAULT_SECRET_KEY=wrong refused 4 get $container round/trip -
S3VAULT_ACCESS_KEY=nobody refused 4 get $container round/trip -
S3VAULT_API_URL=http://127.0.0.1:1 refused 5 get $container round/trip -
S3VAULT_API_URL=http://no-such-host.invalid refused 5 get $container round/trip -
if [ -n "${S3VAULT_CA_FILE:-}" ]; then S3VAULT_CA_FILE='' refused 5 get $container round/trip -; fi
refused 1 put $container round/trip "$work/no-such-file"
S3VAULT_KEYRING=$work/no-such-file refused 2 get $container round/trip -
"$new_keyring" "$work/other.key"
S3VAULT_KEYRING=$work/other.key refused 6 get $container round/trip -
ok "an exit code for each kind of failure"

rc=0
"${backup[@]}" get $container round/trip - >/dev/full 2>"$work/stderr" || rc=$?
[ $rc = 1 ] || fail "get into a full pipe: exit code $rc instead of 1"
ok "a failed write is an error"

# Once nearly all of this has gone through the pipe, the program waits in a read.
mkfifo "$work/pipe"
"${backup[@]}" put $container interrupted - <"$work/pipe" >"$work/stdout" 2>"$work/stderr" &
pid=$!
exec 3>"$work/pipe"
head -c 20000000 /dev/zero >&3
kill -INT $pid
rc=0
wait $pid || rc=$?
exec 3>&-
[ $rc = 1 ] || fail "interrupted put: exit code $rc instead of 1"
[ ! -s "$work/stdout" ] || fail "interrupted put: $(cat "$work/stdout")"
expect 0 versions $container interrupted
[ ! -s "$work/stdout" ] || fail "an interrupted put left a version"
ok "an interrupt stores nothing"

# The same with a checkpoint, and the same command again.
checkpoint=$work/put.checkpoint
"${backup[@]}" put $container resumed - --checkpoint "$checkpoint" <"$work/pipe" >"$work/stdout" 2>"$work/stderr" &
pid=$!
exec 3>"$work/pipe"
cat "$work/first" >&3
# Only a part that the store has is resumed after.
for _ in {1..600}; do
  if grep -q '"record":"part"' "$checkpoint"; then break; fi
  sleep 0.1
done
kill -INT $pid
rc=0
wait $pid || rc=$?
exec 3>&-
[ $rc = 1 ] || fail "interrupted put with a checkpoint: exit code $rc instead of 1"
grep -q "run the same command again to resume from $checkpoint" "$work/stderr" || fail "no word of the checkpoint"
expect 0 put $container resumed - --checkpoint "$checkpoint" <"$work/first"
grep -Eqx 'backup: resuming at byte [1-9][0-9]*' "$work/stderr" || fail "put: it did not resume"
[ ! -e "$checkpoint" ] || fail "put: the checkpoint is still there"
expect 0 get $container resumed "$work/restored"
cmp "$work/restored" "$work/first" || fail "get of a resumed put"
ok "an interrupted put resumes from its checkpoint"

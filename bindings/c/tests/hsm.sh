#!/usr/bin/env bash
# tests/hsm.sh NEW_KEYRING HSM: the promises of examples/hsm.c with the software token of SoftHSM, on the store that the
# environment names: what the token wrapped is restored, and nothing is without it.
set -euo pipefail

new_keyring=$1
hsm=$2
: "${S3VAULT_API_URL:?is not set: start a store, as scripts/with-store.sh does}"
command -v softhsm2-util >/dev/null || { echo "FAIL softhsm2-util is missing: run scripts/setup.sh softhsm"; exit 1; }
container=hsm-c-$$
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { printf 'FAIL %s\n' "$*"; [ ! -s "$work/stderr" ] || sed 's/^/  /' "$work/stderr"; exit 1; }
ok() { printf 'ok %s\n' "$*"; }

# expect CODE ARGUMENT...: runs hsm, and checks its exit code. Its output is in $work/stdout and $work/stderr.
expect() {
  local code=$1 rc=0
  shift
  "$hsm" "$@" >"$work/stdout" 2>"$work/stderr" || rc=$?
  [ $rc = "$code" ] || fail "hsm $*: exit code $rc instead of $code"
}
says() { grep -q "$1" "$work/stderr" || fail "no '$1'"; }

mkdir "$work/tokens"
printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$work" >"$work/softhsm.conf"
export SOFTHSM2_CONF=$work/softhsm.conf
HSM_MODULE=$(find /usr/lib /usr/lib64 -name libsofthsm2.so 2>/dev/null | head -n 1)
export HSM_MODULE HSM_TOKEN=backups HSM_PIN=1234 HSM_KEY="s3vault test"
softhsm2-util --init-token --free --label backups --so-pin 5678 --pin 1234 >"$work/stdout"

export S3VAULT_KEYRING=$work/vault.keys S3VAULT_ENCRYPTION=envelope
"$new_keyring" "$S3VAULT_KEYRING"
head -c 3000001 /dev/urandom >"$work/data"

expect 1 put $container disk "$work/data"
says "the token has no key 's3vault test'"
says "did not wrap a data key"
expect 0 init
expect 0 init
ok "the key is made once, in the token; without it nothing is stored"

expect 0 put $container disk "$work/data"
grep -Eqx 'vid=[0-9A-Z]{26} kek=[0-9a-f]{16}' "$work/stdout" || fail "put: $(cat "$work/stdout")"
[ "$(sed 's/.*kek=//' "$work/stdout")" = "$(printf %s "$HSM_KEY" | sha256sum | head -c 16)" ] || fail "the id of the key"
: >"$work/empty"
expect 0 put $container empty "$work/empty"
for name in data:disk empty:empty; do
  expect 0 get $container "${name#*:}" "$work/restored"
  cmp "$work/restored" "$work/${name%:*}" || fail "get ${name#*:}"
done
ok "a file and an empty one are restored"

HSM_PIN=4321 expect 1 get $container disk "$work/none"
says "the PIN was refused"
HSM_TOKEN=none expect 1 get $container disk "$work/none"
says "there is no token 'none'"
# A key of the same name in another token.
softhsm2-util --init-token --free --label other --so-pin 5678 --pin 1234 >"$work/stdout"
HSM_TOKEN=other expect 0 init
HSM_TOKEN=other expect 1 get $container disk "$work/none"
says "did not unwrap the data key: the token answered 0x"
HSM_KEY=another expect 1 get $container disk "$work/none"
says "hint: "
[ ! -e "$work/none" ] || fail "a file was written"
ok "another PIN, token or key restores nothing"

! grep -aq "$(printf %s "$HSM_KEY" | sha256sum | head -c 16)" "$S3VAULT_KEYRING" || fail "the keyring file changed"
ok "the keyring file does not know the token's key"
echo "hsm: 4 passed, 0 failed"

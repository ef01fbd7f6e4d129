#!/usr/bin/env bash
# Runs the black-box tests as an ordinary user with subordinate ids, from the binaries that cargo built.
set -euo pipefail
. "$(dirname "$0")/places.sh"
user=$test_user
# cargo's own directories may be closed to that user: give it copies.
cd "$root"
built=$(cargo test --no-run --message-format=json 2>/dev/null | jq -r 'select(.executable != null) | "\(.target.name) \(.target.kind[0]) \(.executable)"')
home=$(getent passwd "$user" | cut -d: -f6)
place=$(mktemp -d "$home/run.XXXXXX")
trap 'rm -rf "$place"' EXIT
test_binary=$(awk '$1 == "it" && $2 == "test" { print $3 }' <<<"$built")
program=$(awk '$1 == "longshore" && $2 == "bin" { print $3 }' <<<"$built" | grep -v /deps/ | tail -1)
: "${program:=$(dirname "$(dirname "$test_binary")")/longshore}"
cp "$test_binary" "$place/it" && cp "$program" "$place/longshore"
chown -R "$user:" "$place"
cd "$place"
# An environment of its own: nothing of root's, but where the test servers are.
runuser -u "$user" -- env -i PATH="$PATH" HOME="$home" USER="$user" TMPDIR="$place" LONGSHORE_TEST_BINARY="$place/longshore" \
  $(env | grep '^LONGSHORE_TEST_' | grep -v '^LONGSHORE_TEST_ENV=') ./it

#!/usr/bin/env bash
# The README's first command, as it stands there, does what the README says. Its second one, `cargo test`, is a part of tests/run.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t commands < <(grep -E '^cargo ' README.md)
passed=0 failed=0
check() { # NAME COMMAND...
  if "${@:2}"; then passed=$((passed + 1)) && echo "ok   $1"; else failed=$((failed + 1)) && echo "FAIL $1"; fi
}
[ ! -e image.oci ] || { echo "image.oci is in the way" >&2; exit 1; }
trap 'rm -rf image.oci' EXIT
check "the README has two commands" test "${#commands[@]} ${commands[1]:-}" = "2 cargo test"
check "the first one builds" bash -c "${commands[0]}"
check "its image has the example's file" bash -c 'tests/reference/describe.py image.oci | jq -e ".tree[\"hello.txt\"] != null"'
echo "$passed passed, $failed failed"
[ $failed = 0 ]

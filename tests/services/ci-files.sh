#!/usr/bin/env bash
# The files for CI systems by the linters of those systems, offline: GitHub's and GitLab's schemas, zizmor; and every flag that a
# file passes is one that the program has.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
tools=${LONGSHORE_TEST_CACHE:-$PWD/${CARGO_TARGET_DIR:-target}/env}/tools/lint
if [ ! -x "$tools/bin/zizmor" ]; then
  python3 -m venv "$tools" && "$tools/bin/pip" install -q check-jsonschema==0.39.0 zizmor==1.32.0 ||
    { echo "0 passed, 1 failed"; exit 1; }
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
check() { # NAME COMMAND...
  local name=$1
  shift
  if "$@" >"$work/log" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "$name: not so" && cat "$work/log"; fi
}
check 'action.yml by its schema' "$tools/bin/check-jsonschema" --builtin-schema vendor.github-actions action.yml
check 'action.yml by zizmor' "$tools/bin/zizmor" --offline --quiet action.yml
# A component is two documents; the jobs are the second.
sed '1,/^---$/d' gitlab/templates/longshore.yml >"$work/template.yml"
check 'the GitLab files by their schema' "$tools/bin/check-jsonschema" --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci \
  "$work/template.yml" gitlab/examples/*.yml
"$longshore" build --help >"$work/help"
flags=$(grep -ohE -- '--[a-z][a-z-]+' src/ci/inputs.rs gitlab/templates/*.yml gitlab/examples/*.yml | grep -vx -- --flag | sort -u)
for flag in $flags; do
  check "the program has $flag" grep -qE -- "$flag([ =<[]|\$)" "$work/help"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

#!/usr/bin/env bash
# What `longshore check` writes for other programs: SARIF by the validator of Microsoft's SARIF SDK, which carries the official JSON schema of
# SARIF 2.1.0 and rules beyond it; GitLab's code quality report by a schema of our own after GitLab's page, since we know of no package with one.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
tools=${LONGSHORE_TEST_CACHE:-$PWD/${CARGO_TARGET_DIR:-target}/env}/tools/sarif
validator=$tools/node_modules/@microsoft/sarif-multitool-linux/Sarif.Multitool
if [ ! -x "$validator" ]; then
  mkdir -p "$tools"
  (cd "$tools" && npm install --no-audit --no-fund --silent @microsoft/sarif-multitool-linux@5.7.0) || { echo "0 passed, 1 failed"; exit 1; }
fi
lint=${LONGSHORE_TEST_CACHE:-$PWD/${CARGO_TARGET_DIR:-target}/env}/tools/lint
if [ ! -x "$lint/bin/zizmor" ]; then # with what ci-files.sh takes from there
  python3 -m venv "$lint" && "$lint/bin/pip" install -q check-jsonschema==0.39.0 zizmor==1.32.0 || { echo "0 passed, 1 failed"; exit 1; }
fi
# It asks for a library of languages otherwise.
export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
validate() { # FILE: no error of the schema, and of the rules at most that a tool without a home page has none
  "$validator" validate "$1" >"$work/log" 2>&1 && ! grep -E '(error|warning) [A-Z]+[0-9]+:' "$work/log" | grep -v ' SARIF2005: '
}
check() { # NAME COMMAND...
  local name=$1
  shift
  if "$@" >"$work/output" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "$name: not so" && cat "$work/output" "$work/log"; fi
}
report() { # NAME DOCKERFILE: in $work/NAME.sarif; with mistakes or not, there is one
  mkdir "$work/$1"
  printf '%b' "$2" >"$work/$1/Dockerfile"
  "$longshore" check --format sarif -c "$work/$1" >"$work/$1.sarif" 2>"$work/log"
  [ -s "$work/$1.sarif" ]
}
check 'a report of nothing' report nothing 'FROM scratch\nCOPY a /\n'
check 'a report of findings' report findings '# a\nFROM scratch AS Base\nMAINTAINER x\nMAINTAINER x\nENV api_token é\nWORKDIR w\nCMD run $UNKNOWN\nCMD again\n'
check 'a report of mistakes' report mistakes 'FROM scratch\nCOPPY a b\nADD\n'
for one in nothing findings mistakes; do check "the report of $one is valid" validate "$work/$one.sarif"; done
# It does find mistakes.
sed 's/"text":/"txet":/' "$work/findings.sarif" >"$work/wrong.sarif"
wrong() { ! validate "$work/wrong.sarif" && grep -q 'error JSON' "$work/log"; }
check 'a message without its text is seen' wrong

schema=tests/fixtures/gitlab/codequality.schema.json
quality() { # NAME: the report of a Dockerfile of above, in $work/NAME.json
  (cd "$work/$1" && "$longshore" check --format gitlab >"$work/$1.json" 2>"$work/log")
  [ -s "$work/$1.json" ]
}
by_schema() { "$lint/bin/check-jsonschema" --schemafile "$schema" "$1"; }
unique() { jq -e '[.[].fingerprint] | length == (unique | length)' "$1"; }
check 'the schema is one' "$lint/bin/check-jsonschema" --check-metaschema "$schema"
for one in nothing findings mistakes; do
  check "GitLab: a report of $one" quality "$one"
  check "GitLab: the report of $one is valid" by_schema "$work/$one.json"
  check "GitLab: the fingerprints of $one are unique" unique "$work/$one.json"
done
check 'GitLab: nothing is an empty list' jq -e '. == []' "$work/nothing.json"
check 'GitLab: there are findings' jq -e 'length >= 5 and (map(.severity) | unique | length > 1) and all(.[]; .location.path == "Dockerfile")' "$work/findings.json"
check 'GitLab: a mistake blocks' jq -e 'length == 2 and all(.[]; .severity == "blocker")' "$work/mistakes.json"
refused() { # FILTER: makes a report of findings one that the schema refuses
  jq "$1" "$work/findings.json" >"$work/wrong.json" && ! by_schema "$work/wrong.json"
}
for filter in 'del(.[0].fingerprint)' '.[0].severity = "warning"' 'del(.[0].location.lines.begin)' '.[0].location.path |= "./" + .' '.[0].location.lines.begin = 0'; do
  check "GitLab: $filter is seen" refused "$filter"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

#!/usr/bin/env bash
# What `longshore check` writes for other programs: SARIF by the validator of Microsoft's SARIF SDK, which carries the official JSON schema of
# SARIF 2.1.0 and rules beyond it. For GitLab's code quality schema we know of no package; tests/it/checks.rs compares that report.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
tools=${LONGSHORE_TEST_CACHE:-$PWD/${CARGO_TARGET_DIR:-target}/env}/tools/sarif
validator=$tools/node_modules/@microsoft/sarif-multitool-linux/Sarif.Multitool
if [ ! -x "$validator" ]; then
  mkdir -p "$tools"
  (cd "$tools" && npm install --no-audit --no-fund --silent @microsoft/sarif-multitool-linux@5.7.0) || { echo "0 passed, 1 failed"; exit 1; }
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
check 'a report of findings' report findings '# a\nFROM scratch AS Base\nMAINTAINER x\nENV api_token é\nWORKDIR w\nCMD run $UNKNOWN\nCMD again\n'
check 'a report of mistakes' report mistakes 'FROM scratch\nCOPPY a b\nADD\n'
for one in nothing findings mistakes; do check "the report of $one is valid" validate "$work/$one.sarif"; done
# It does find mistakes.
sed 's/"text":/"txet":/' "$work/findings.sarif" >"$work/wrong.sarif"
wrong() { ! validate "$work/wrong.sarif" && grep -q 'error JSON' "$work/log"; }
check 'a message without its text is seen' wrong
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

# Sourced: the tests of places in buckets, against the store that the variables name.

buckets() { # LOG: says yes if they pass
  local tests=${LONGSHORE_REGISTRY_TESTS:-}
  if [ -z "$tests" ]; then
    tests=$(cargo test --no-run --test registry --message-format=json-render-diagnostics 2>"$1" |
      jq -r 'select(.executable != null and .target.name == "registry") | .executable') || return 0
  fi
  # That none was left out counts too.
  if "$tests" --test-threads 1 buckets:: >"$1" 2>&1 && grep -q '^test result: ok. 3 passed' "$1" && ! grep -q SKIPPED "$1"; then echo yes; fi
}
